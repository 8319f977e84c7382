"""AlphaNet: the sandwich with a distillation that minds over- and underestimation alike."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from nasplat.data import Dataset
from nasplat.space import Space
from nasplat.supernet.methods.base import Method, after_warmup, need_classes, training_loss
from nasplat.supernet.objective import adaptive_alpha, in_place
from nasplat.supernet.policy import Sandwich
from nasplat.supernet.recipe import expect
from nasplat.supernet.schedule import Phase, Schedule


@dataclass(frozen=True, slots=True)
class AlphaNetTraining(Method):
    """The sandwich, in which the largest teaches by the larger of two alpha-divergences (arXiv:2102.07954).

    The largest hears labels, the others only the largest; for classification.

    random: random architectures a step.
    low, high: the two alphas; with both at 1 this is `bignas`.
    clip_ratio: ratios^alpha of teacher to student are cut off here. Gradients are clipped by value, as published,
    because the divergence at alpha = 1 has no bound.

    Control: distillation by KL divergence alone.
    """

    control: ClassVar[Mapping[str, Any]] = {"method": "bignas"}

    clip_value: float | None = 1.0
    random: int = 2
    low: float = -1.0
    high: float = 1.0
    clip_ratio: float = 5.0

    def __post_init__(self) -> None:
        Method.__post_init__(self)
        expect("random", self.random, self.random >= 0, "0 or more")
        expect("low", self.low, -math.inf < self.low <= self.high, f"a number up to high = {self.high}")
        expect("high", self.high, self.high < math.inf, "a number")
        expect("clip_ratio", self.clip_ratio, 1 <= self.clip_ratio < math.inf, "a number from 1 on")

    def schedule(self, space: Space, data: Dataset, seed: int) -> Schedule:
        """Warm-up, then the sandwich with adaptive distillation."""
        need_classes(data, "the distillation of alphanet")
        loss = training_loss(data, self)
        objective = adaptive_alpha(loss, low=self.low, high=self.high, clip=self.clip_ratio)
        phase = Phase(1.0, Sandwich(space, self.random, seed), objective, in_place)
        return after_warmup(space, self.warmup, loss, phase)
