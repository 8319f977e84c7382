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
    """Weight 1 for the first architecture of a step; `eps0` for the others, rising linearly to 1 over a share."""

    eps0: float
    share: float

    def __call__(self, number: int, done: float) -> float:
        return 1.0 if number == 0 else min(1.0, self.eps0 + (1 - self.eps0) * done / self.share)


@dataclass(frozen=True, slots=True)
class DepSTraining(SandwichTraining):
    """In the spirit of delayed epsilon-shrinking (DepS, arXiv:2407.06167): a late and soft start.

    The largest trains alone for the first half. Then the sandwich begins, with in-place distillation from the
    largest, and the losses of the others count eps0 at first and rise linearly to 1, so that the largest is not
    thrown off. The paper describes the rise, but not its curve: linear is ours.

    eps0: weight of the others' losses when shrinking begins.
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
        return replace(SandwichTraining.phase(self, space, data, seed), weight=Rise(self.eps0, self.rise))
