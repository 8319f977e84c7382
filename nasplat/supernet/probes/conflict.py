"""Which options of a choice pull the weights that they share into different directions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.data import derived_seed, take
from nasplat.errors import NasplatError, expected_one_of
from nasplat.space import Arch, Choice, Space, Value
from nasplat.supernet.probes.look import PROBE, Look


@dataclass(frozen=True, slots=True)
class GradientConflict:
    """1 - cosine of the gradients of shared weights, between the options of each choice (gradient matching).

    For each choice of a kind (of every kind by default; "depth" stands for depth1, depth2, ...) a table option ->
    option -> distance: 0 for options that agree, 1 for unrelated ones, 2 for opposite ones, None for options that
    share nothing. Where a choice conflicts, splitting the weights by it pays. Cost: for each option of each choice
    `repeats` forward and backward passes of `batch` examples. Source: GM-NAS (arXiv:2203.15207).
    """

    kind: str | None = None
    repeats: int = 4
    batch: int = 64
    unit: ClassVar[str] = "1"

    def __call__(self, at: Look, before: Mapping[str, Any] | None) -> Mapping[str, Any]:
        return {choice.name: self._table(at, choice) for choice in self.choices(at.space)}

    def choices(self, space: Space) -> list[Choice]:
        """The choices of a space that it looks at; NasplatError where there is none of its kind."""
        several = open_choices(space)
        kinds = list(dict.fromkeys(choice.kind for choice in several))
        if self.kind is not None and self.kind not in kinds:
            raise NasplatError(
                f"{space.name} has no choice of the kind {self.kind!r}; {expected_one_of(self.kind, kinds)}"
            )
        return [choice for choice in several if self.kind in (None, choice.kind)]

    def _table(self, at: Look, choice: Choice) -> dict[str, dict[str, float | None]]:
        distances, names = self.matrix(at, choice).tolist(), [str(value) for value in choice.values]
        rows = [[None if math.isnan(d) else d for d in row] for row in distances]
        return {name: dict(zip(names, row, strict=True)) for name, row in zip(names, rows, strict=True)}

    def matrix(self, at: Look, choice: Choice) -> Tensor:
        """The distances (options, options) of a choice, each the mean over `repeats` architectures and batches."""
        found = [self._once(at, choice, number) for number in range(self.repeats)]
        return torch.stack(found).nanmean(0)

    def _once(self, at: Look, choice: Choice, number: int) -> Tensor:
        """The distances on one batch, with one draw of all other choices."""
        rng = np.random.default_rng([at.seed, PROBE, number])
        indices = torch.from_numpy(rng.integers(len(at.data.train), size=self.batch))
        batch = take(at.data.train, indices, at.device)
        archs = options(at.space, choice, rng)
        seed = derived_seed(at.seed, PROBE, number)
        return distances([_gradient(at, arch, batch, seed) for arch in archs])


def open_choices(space: Space) -> list[Choice]:
    """The choices that have several values and can be active: a restricted space may have others."""
    return [
        choice
        for choice in space.choices
        if len(choice.values) > 1 and all(legal for _, legal in _conditions(space, choice))
    ]


def options(space: Space, choice: Choice, rng: np.random.Generator) -> list[Arch]:
    """An architecture for each value of a choice, alike in all others as far as conditions allow.

    The others are drawn at random, those that the choice depends on among the values that make it active.
    """
    drawn = {c.name: _pick(c.values, rng) for c in space.choices}
    for name, values in _conditions(space, choice):
        if drawn[name] not in values:
            drawn[name] = _pick(values, rng)
    return [space.arch(drawn | {choice.name: value}) for value in choice.values]


def _conditions(space: Space, choice: Choice) -> Iterator[tuple[str, Sequence[Value]]]:
    """The values that others must have for a choice to be active, and for what it depends on."""
    by_name = {c.name: c for c in space.choices}
    for name, values in choice.when:
        yield name, [value for value in by_name[name].values if value in values]
        yield from _conditions(space, by_name[name])


def _pick(values: Sequence[Value], rng: np.random.Generator) -> Value:
    return values[int(rng.integers(len(values)))]


Gradient = list[Tensor | None]  # one for each parameter; None where an architecture does not use it


def _gradient(at: Look, arch: Arch, batch: tuple[Tensor, Tensor], seed: int) -> Gradient:
    """The gradient of the task's loss as in training; every option sees the same dropout."""
    inputs, targets = batch
    torch.manual_seed(seed)
    at.net.train()
    loss = at.data.task.loss(at.net(inputs, arch), targets)
    return list(torch.autograd.grad(loss, _trained(at.net), allow_unused=True))


def _trained(net: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in net.parameters() if parameter.requires_grad]


def distances(gradients: Sequence[Gradient]) -> Tensor:
    """1 - cosine for each pair (n, n), over the weights that both use; NaN where they share none.

    A weight that lies outside the slice of an architecture has a gradient of exactly 0. It is not shared, so it counts
    in neither norm: else a narrow and a wide option would differ without any conflict.
    """
    n = len(gradients)
    found = torch.zeros(n, n)
    for i in range(n):
        for j in range(i):
            found[i, j] = found[j, i] = _distance(gradients[i], gradients[j])
    return found


def _distance(a: Gradient, b: Gradient) -> float:
    pairs = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    shared = [(x[both], y[both]) for x, y in pairs for both in [(x != 0) & (y != 0)]]
    if not sum(len(x) for x, _ in shared):
        return math.nan
    first, second = (torch.cat(side) for side in zip(*shared, strict=True))
    return 1 - float(F.cosine_similarity(first, second, dim=0))
