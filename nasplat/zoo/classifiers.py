"""Small image classifiers, each with a form, a recipe, a share of the data and some wrong labels of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from nasplat.data import Dataset, Split, derived_seed, generator
from nasplat.errors import InvalidStudy, expected_one_of
from nasplat.zoo.families import FAMILIES, Form
from nasplat.zoo.group import DIVERGED, TRAINED, Group, Row, finite
from nasplat.zoo.optimisers import ROW_OPTIMISERS
from nasplat.zoo.recipe import LABELS, ORDER, WEIGHTS, Recipe, draw_form, draw_recipe
from nasplat.zoo.stack import Stack, on_device, stack_modules
from nasplat.zoo.training import Lessons, outputs_of, train_stack


@dataclass(frozen=True, slots=True)
class Classifiers:
    """Which networks a zoo of classifiers holds: equal settings and data give equal networks.

    Network i is of family i mod the number of families. Within a family, `group_size` networks in a row share a form
    and an optimiser, drawn for each group. steps: the least and the most updates.
    """

    count: int
    families: tuple[str, ...] = ("plain", "norm", "residual", "depthwise", "attention")
    seed: int = 0
    group_size: int = 50
    batch_size: int = 32
    steps: tuple[int, int] = (40, 400)

    def check(self, data: Dataset) -> None:
        """Raise InvalidStudy for settings that make no sense, or data that these networks cannot learn."""
        for family in self.families:
            if family not in FAMILIES:
                raise InvalidStudy(f"unknown family {family!r}; {expected_one_of(family, FAMILIES)}")
        if not self.families or len(set(self.families)) < len(self.families):
            raise InvalidStudy(f"families = {', '.join(self.families) or 'none'}: expected each name once")
        if min(self.count, self.group_size, self.batch_size) < 1:
            raise InvalidStudy("count, group size and batch size: expected 1 or more of each")
        if not 1 <= self.steps[0] <= self.steps[1]:
            raise InvalidStudy(f"steps from {self.steps[0]} to {self.steps[1]}: expected 1 <= least <= most")
        if data.classes is None or data.task.metric != "accuracy" or len(data.input_shape) != 3:
            raise InvalidStudy(f"{data.name} is no set of labelled images (c, h, w), which a zoo learns from")
        if min(data.input_shape[1:]) < 4:
            raise InvalidStudy(f"images of {data.input_shape[1]}x{data.input_shape[2]}: expected 4x4 or more")

    def jobs(self, data: Dataset) -> Iterator[Job]:
        """The groups that are to be trained, in order."""
        for f, family in enumerate(self.families):
            numbers = range(f, self.count, len(self.families))
            for index, start in enumerate(range(0, len(numbers), self.group_size)):
                yield self._job(data, family, index, tuple(numbers[start : start + self.group_size]))

    def _job(self, data: Dataset, family: str, index: int, numbers: tuple[int, ...]) -> Job:
        c, h, w = data.input_shape
        form, optimiser = draw_form(self.seed, family, index, (c, h, w), data.classes or 0)
        recipes = tuple(draw_recipe(self.seed, n, optimiser, self.steps) for n in numbers)
        return Job(f"{family}-{index:03}", form, optimiser, numbers, recipes, self)


@dataclass(frozen=True, slots=True)
class Job:
    """The networks of one group, and how each of them is trained."""

    name: str
    form: Form
    optimiser: str
    numbers: tuple[int, ...]
    recipes: tuple[Recipe, ...]
    settings: Classifiers

    def train(self, data: Dataset, device: torch.device) -> Group:
        """All its networks, trained at once on a device, with their rows; the tensors are on the CPU."""
        order = sorted(range(len(self.numbers)), key=lambda k: -self.recipes[k].steps)
        pupils = [Pupil.of(self, k, data).to(device) for k in order]
        here, dtype = _on_device(data, device), data.train.inputs.dtype
        stack = on_device(stack_modules([self.network(k).to(dtype) for k in order]), device)
        recipes = [self.recipes[k] for k in order]
        rates, decays = (
            torch.tensor([[value] for value in values], dtype=dtype, device=device)
            for values in ([r.learning_rate for r in recipes], [r.weight_decay for r in recipes])
        )
        lessons = Lessons(_batches(pupils, here.train), F.cross_entropy, [r.steps for r in recipes])
        train_stack(stack, lessons, ROW_OPTIMISERS[self.optimiser](rates, decays))
        found = _judge(stack, pupils, here)
        back = sorted(range(len(order)), key=order.__getitem__)
        tensors = {name: t[back].cpu() for name, t in stack.state().items()}
        rows = tuple(self._row(k, found[back[k]], stack) for k in range(len(order)))
        form = {**asdict(self.form), "input_shape": list(self.form.input_shape)}
        return Group(self.name, form, self.form.make, tensors, rows)

    def network(self, k: int) -> nn.Module:
        """Network k as it begins: PyTorch's initialisation, the weights of layers scaled."""
        with torch.random.fork_rng([]):
            torch.manual_seed(derived_seed(self.settings.seed, WEIGHTS, self.numbers[k]))
            module = self.form.make()
        with torch.no_grad():
            for layer in module.modules():
                if isinstance(layer, nn.Conv2d | nn.Linear):
                    layer.weight.mul_(self.recipes[k].init_scale)
        return module

    def _row(self, k: int, found: Row, stack: Stack) -> Row:
        facts = {"family": self.form.family, "width": self.form.width, "depth": self.form.depth}
        facts |= {"activation": self.form.activation, "params": stack.rows.shape[1], "group": self.name}
        return {
            "number": self.numbers[k],
            **facts,
            "optimiser": self.optimiser,
            **asdict(self.recipes[k]),
            **found,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Pupil:
    """What one network sees: which training examples (s,), labels of all of them (n,), some wrong, and the order of
    examples in its batches (steps, batch size), one pass after the other."""

    examples: Tensor
    labels: Tensor
    order: Tensor

    @classmethod
    def of(cls, job: Job, k: int, data: Dataset) -> Pupil:
        """Drawn for network k of a job by the zoo's seed and the network's number."""
        recipe, seed, number = job.recipes[k], job.settings.seed, job.numbers[k]
        n, needed = len(data.train), recipe.steps * job.settings.batch_size
        source = generator(seed, ORDER, number)
        examples = torch.randperm(n, generator=source)[: max(2, round(recipe.train_fraction * n))]
        passes = [torch.randperm(len(examples), generator=source) for _ in range(-(-needed // len(examples)))]
        order = examples[torch.cat(passes)[:needed]].view(recipe.steps, -1)
        source = generator(seed, LABELS, number)
        wrong = torch.rand(n, generator=source) < recipe.label_noise
        drawn = torch.randint(data.classes or 0, (n,), generator=source)
        return cls(examples, torch.where(wrong, drawn, data.train.targets.cpu()), order)

    def to(self, device: torch.device) -> Pupil:
        """The same on a device."""
        return Pupil(self.examples.to(device), self.labels.to(device), self.order.to(device))


def _on_device(data: Dataset, device: torch.device) -> Dataset:
    return replace(data, **{name: getattr(data, name).to(device) for name in ("train", "validation", "test")})


def _batches(pupils: list[Pupil], split: Split) -> Callable[[int, int], tuple[Tensor, Tensor]]:
    """(step, k) -> inputs (k, b, c, h, w) and labels (k, b) of the first k pupils."""
    orders = pad_sequence([p.order for p in pupils])  # (most steps, m, b)
    labels = torch.stack([p.labels for p in pupils])

    def batch(step: int, k: int) -> tuple[Tensor, Tensor]:
        which = orders[step, :k]
        return split.inputs[which], labels[:k].gather(1, which)

    return batch


def _judge(stack: Stack, pupils: list[Pupil], data: Dataset) -> list[Row]:
    """What became of each network: on its own examples with its own labels, and on the other two splits."""
    said = outputs_of(stack, data.train.inputs)
    judged = {
        "train": [_figures(o[p.examples], p.labels[p.examples]) for o, p in zip(said, pupils, strict=True)]
    }
    for name, split in {"validation": data.validation, "test": data.test}.items():
        judged[name] = [_figures(o, split.targets) for o in outputs_of(stack, split.inputs)]
    sound = finite(stack.state()).tolist()
    rows: list[Row] = []
    for k in range(len(stack)):
        row: Row = {f"{name}_{key}": value for name in judged for key, value in judged[name][k].items()}
        known = all(row[f"{name}_loss"] is not None for name in judged)
        row["gap"] = row["train_accuracy"] - row["test_accuracy"]
        rows.append({**row, "status": TRAINED if sound[k] and known else DIVERGED})
    return rows


def _figures(outputs: Tensor, targets: Tensor) -> dict[str, float | None]:
    """Share of hits, and mean cross entropy in nats, None where that is no number."""
    loss = float(F.cross_entropy(outputs, targets))
    hits = float((outputs.argmax(1) == targets).double().mean())
    return {"accuracy": hits, "loss": loss if math.isfinite(loss) else None}
