"""Images as networks: a SIREN for each image of a data set, thousands fitted at once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.data import Dataset, derived_seed, generator
from nasplat.errors import InvalidStudy
from nasplat.zoo.group import DIVERGED, TRAINED, Group, Row, finite
from nasplat.zoo.optimisers import AdamW
from nasplat.zoo.recipe import ORDER, WEIGHTS
from nasplat.zoo.siren import SirenForm, places
from nasplat.zoo.stack import stack_modules
from nasplat.zoo.training import Lessons, outputs_of, train_stack

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Sirens:
    """Which images a zoo of SIRENs shows, and how they are fitted: equal settings and data give equal networks.

    The images of all three splits are shuffled by seed; network i shows image i of that order, and begins again where
    it ends: an image then has several networks, each from its own initial weights. Every network takes `steps` steps
    of Adam on all pixels at once.
    """

    count: int
    seed: int = 0
    group_size: int = 100
    steps: int = 300
    learning_rate: float = 1e-3
    form: SirenForm = field(default_factory=SirenForm)

    def check(self, data: Dataset) -> None:
        """Raise InvalidStudy for settings that make no sense, or data without images."""
        if min(self.count, self.group_size, self.steps, self.form.width, self.form.hidden) < 1:
            raise InvalidStudy("count, group size, steps, width and hidden: expected 1 or more of each")
        if not (self.learning_rate > 0 and self.form.frequency > 0):
            raise InvalidStudy("learning rate and frequency: expected more than 0 of each")
        if len(data.input_shape) != 3:
            raise InvalidStudy(f"{data.name} has no images (c, h, w), which SIRENs show")

    def jobs(self, data: Dataset) -> Iterator[SirenJob]:
        """The groups that are to be fitted, in order."""
        for index, start in enumerate(range(0, self.count, self.group_size)):
            numbers = tuple(range(start, min(start + self.group_size, self.count)))
            yield SirenJob(f"siren-{index:03}", numbers, self)


@dataclass(frozen=True, slots=True)
class SirenJob:
    """The SIRENs of one group."""

    name: str
    numbers: tuple[int, ...]
    settings: Sirens

    def train(self, data: Dataset, device: torch.device) -> Group:
        """All its networks, fitted at once on a device, with their rows; the tensors are on the CPU."""
        settings, m = self.settings, len(self.numbers)
        form = SirenForm(**{**asdict(settings.form), "outputs": data.input_shape[0]})
        images, rows = _images(data, settings.seed, self.numbers)
        targets = images.flatten(2).transpose(1, 2).to(device)  # (m, pixels, channels)
        inputs = places(*data.input_shape[1:]).to(targets)
        modules = [self.network(n, form).to(inputs.dtype) for n in self.numbers]
        stack = stack_modules(modules).to(device)
        rate = torch.full((m, 1), settings.learning_rate, dtype=inputs.dtype, device=device)
        lessons = Lessons(
            lambda step, k: (inputs.expand(k, -1, -1), targets[:k]), F.mse_loss, [settings.steps] * m
        )
        train_stack(stack, lessons, AdamW(rate, torch.zeros_like(rate)))
        errors = (outputs_of(stack, inputs) - targets).square().mean((1, 2)).tolist()
        tensors = {name: tensor.cpu() for name, tensor in stack.state().items()}
        sound = finite(tensors).tolist()
        facts: Row = {"seed": settings.seed, "family": "siren", "width": form.width, "depth": form.hidden}
        facts |= {"frequency": form.frequency, "params": stack.rows.shape[1], "group": self.name}
        facts |= {"learning_rate": settings.learning_rate, "steps": settings.steps}
        told = tuple(
            {"number": n, **facts, **row, **_figures(error, good)}
            for n, row, error, good in zip(self.numbers, rows, errors, sound, strict=True)
        )
        return Group(self.name, asdict(form), form.make, tensors, told)

    def network(self, number: int, form: SirenForm) -> nn.Module:
        """A network as it begins."""
        with torch.random.fork_rng([]):
            torch.manual_seed(derived_seed(self.settings.seed, WEIGHTS, number))
            return form.make()


def _images(data: Dataset, seed: int, numbers: tuple[int, ...]) -> tuple[Tensor, list[Row]]:
    """The images (m, c, h, w) of some networks, in intensities where the data set says how, and where they stand."""
    ends = [(name, getattr(data, name)) for name in SPLITS]
    every = [(name, k) for name, split in ends for k in range(len(split))]
    order = torch.randperm(len(every), generator=generator(seed, ORDER)).tolist()
    rows: list[Row] = []
    images = []
    for number in numbers:
        name, k = every[order[number % len(every)]]
        split = getattr(data, name)
        images.append(split.inputs[k])
        label = {"label": int(split.targets[k])} if data.classes is not None else {}
        rows.append({"split": name, "image": k, **label})
    return _intensities(torch.stack(images), data), rows


def _intensities(images: Tensor, data: Dataset) -> Tensor:
    """Images (m, c, h, w) in 0 to 1, where the data set keeps the mean and spread that it took out."""
    if "mean" not in data.origin or "std" not in data.origin:
        return images
    mean, std = (torch.tensor(data.origin[key], dtype=images.dtype).view(-1, 1, 1) for key in ("mean", "std"))
    return images * std + mean


def _figures(error: float, sound: bool) -> Row:
    """Mean squared error, and peak signal-to-noise ratio in dB for intensities up to 1."""
    if not sound or not math.isfinite(error):
        return {"loss": None, "psnr_db": None, "status": DIVERGED}
    return {"loss": error, "psnr_db": -10 * math.log10(max(error, 1e-12)), "status": TRAINED}
