"""Delayed shrinking: subnets join when the largest network is half trained, and gain weight slowly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from nasplat.data import Dataset
from nasplat.space import Space
from nasplat.supernet.methods.sandwich import SandwichTraining
from nasplat.supernet.recipe import expect
from nasplat.supernet.schedule import Phase


@dataclass(frozen=True, slots=True)
class Rise:
    """The first architecture of a step counts 1, each other eps, of the sum of these: a weighted mean of the losses.

    eps is `eps0` at first and rises linearly to 1 over a share. The loop divides by the number of architectures, so
    the weights are count / (1 + eps (count - 1)) for the first and eps times that for the others: at eps = 0 the
    gradient is that of the first alone, at eps = 1 the plain mean.
    """

    eps0: float
    share: float
    count: int

    def __call__(self, number: int, done: float) -> float:
        eps = min(1.0, self.eps0 + (1 - self.eps0) * done / self.share)
        return (1.0 if number == 0 else eps) * self.count / (1 + eps * (self.count - 1))


@dataclass(frozen=True, slots=True)
class DepSTraining(SandwichTraining):
    """In the spirit of delayed epsilon-shrinking (DepS, arXiv:2407.06167): a late and soft start.

    The largest trains alone for the first half. Then the sandwich begins, with in-place distillation from the
    largest, and the losses of the others count eps0 at first and rise linearly to 1, so that the largest is not
    thrown off: the gradient goes smoothly from the largest's own to the mean of the sandwich, for it is of the mean
    with these weights. The paper describes the rise, but neither its curve nor the scale: linear and a mean are ours.

    eps0: weight of each other loss when shrinking begins, where that of the largest is 1.
    rise: share of the shrinking over which it grows to 1.

    Control: no delay and no rise, which is `bignas`.
    """

    control: ClassVar[Mapping[str, Any]] = {"method": "bignas"}

    warmup: float = 0.5
    alpha: float = 1.0
    eps0: float = 1e-3
    rise: float = 0.25

    def __post_init__(self) -> None:
        SandwichTraining.__post_init__(self)
        expect("eps0", self.eps0, 0 <= self.eps0 <= 1, "0 to 1")
        expect("rise", self.rise, 0 < self.rise <= 1, "above 0 to 1, a share of the shrinking")

    def phase(self, space: Space, data: Dataset, seed: int) -> Phase:
        """The sandwich, in which the weight of all but the largest rises."""
        rise = Rise(self.eps0, self.rise, count=2 + self.random)
        return replace(SandwichTraining.phase(self, space, data, seed), weight=rise)
