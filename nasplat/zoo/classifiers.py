"""Small image classifiers, each with a form, a recipe, a share of the data and some wrong labels of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

import torch
import torch.nn.functional as F
from torch import nn

from nasplat.data import Dataset, derived_seed
from nasplat.errors import InvalidStudy, expected_one_of
from nasplat.zoo.families import FAMILIES, Form
from nasplat.zoo.group import Group, Row
from nasplat.zoo.judging import judge
from nasplat.zoo.optimisers import ROW_OPTIMISERS
from nasplat.zoo.pupils import Pupil, batches, on_device
from nasplat.zoo.recipe import WEIGHTS, Recipe, draw_form, draw_recipe
from nasplat.zoo.stack import Stack, stack_modules
from nasplat.zoo.training import Lessons, train_stack


@dataclass(frozen=True, slots=True)
class Classifiers:
    """Which networks a zoo of classifiers holds: equal settings and data give equal networks.

    Network i is of family i mod the number of families. Within a family, `group_size` networks in a row share a form
    and an optimiser, drawn for each group. steps: the least and the most updates. The images are not augmented.
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
        longest_first = sorted(range(len(self.numbers)), key=lambda k: -self.recipes[k].steps)
        numbers, recipes = zip(*((self.numbers[k], self.recipes[k]) for k in longest_first), strict=True)
        trained = replace(self, numbers=numbers, recipes=recipes)._train(data, device)
        return trained.keep([longest_first.index(k) for k in range(len(numbers))])

    def _train(self, data: Dataset, device: torch.device) -> Group:
        """The group, where no network takes more steps than the one before it."""
        everyone, dtype = range(len(self.numbers)), data.train.inputs.dtype
        here, pupils = on_device(data, device), [Pupil.of(self, k, data).to(device) for k in everyone]
        stack = stack_modules([self.network(k).to(dtype) for k in everyone]).to(device)
        rates = [[r.learning_rate, r.weight_decay] for r in self.recipes]
        rate, decay = torch.split(torch.tensor(rates, dtype=dtype, device=device), 1, 1)
        lessons = Lessons(batches(pupils, here.train), F.cross_entropy, [r.steps for r in self.recipes])
        train_stack(stack, lessons, ROW_OPTIMISERS[self.optimiser](rate, decay))
        facts = [self._facts(k, stack) for k in everyone]
        rows = tuple(fact | found for fact, found in zip(facts, judge(stack, pupils, here), strict=True))
        tensors = {name: tensor.cpu() for name, tensor in stack.state().items()}
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

    def _facts(self, k: int, stack: Stack) -> Row:
        form = {name: getattr(self.form, name) for name in ("family", "width", "depth", "activation")}
        row: Row = {
            "number": self.numbers[k],
            "seed": self.settings.seed,
            **form,
            "params": stack.rows.shape[1],
        }
        return {**row, "group": self.name, "optimiser": self.optimiser, **asdict(self.recipes[k])}
