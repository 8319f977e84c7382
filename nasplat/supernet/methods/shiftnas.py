"""ShiftNAS: costs are drawn before architectures, and those that still learn are drawn more often."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from nasplat.data import Dataset
from nasplat.space import Space
from nasplat.supernet.bins import mac_bins
from nasplat.supernet.methods.base import Method, after_warmup, training_loss
from nasplat.supernet.objective import label_loss
from nasplat.supernet.recipe import expect
from nasplat.supernet.resource import CostFirst, Shift, Shifting
from nasplat.supernet.schedule import Phase, Schedule


@dataclass(frozen=True, slots=True)
class ShiftNASTraining(Method):
    """In the spirit of ShiftNAS (arXiv:2307.08300): costs whose loss still falls are drawn more often.

    Multiply-adds are cut into bins. One is drawn, then an architecture of it, each with the same probability; the
    paper trains a network to generate one. How probabilities shift is in `resource.Shifting`.

    per_step: architectures a step. bins: of multiply-adds, of equal width.
    learn: whether probabilities shift; without, all bins are alike.
    every, memory, temperature, uniform: how they shift, as in `resource.Shift`.

    Control: bins all alike; and `uniform`, which draws each choice by itself.
    """

    control: ClassVar[Mapping[str, Any]] = {"method": "shiftnas", "learn": False}

    per_step: int = 1
    bins: int = 8
    learn: bool = True
    every: int = 50
    memory: float = 0.9
    temperature: float = 0.1
    uniform: float = 0.1

    def __post_init__(self) -> None:
        Method.__post_init__(self)
        expect("per_step", self.per_step, self.per_step >= 1, "at least 1")
        expect("bins", self.bins, self.bins >= 1, "at least 1")
        expect("every", self.every, self.every >= 1, "at least 1")
        expect("memory", self.memory, 0 <= self.memory < 1, "0 to below 1")
        expect("temperature", self.temperature, self.temperature > 0, "more than 0")
        expect("uniform", self.uniform, 0 <= self.uniform <= 1, "0 to 1, a share of the probability")

    def schedule(self, space: Space, data: Dataset, seed: int) -> Schedule:
        """Warm-up, then one cost after the other."""
        loss, bins = training_loss(data, self), mac_bins(space, self.bins)
        shift = Shift(self.every, self.memory, self.temperature, self.uniform)
        policy = (
            Shifting(bins, self.per_step, seed, shift) if self.learn else CostFirst(bins, self.per_step, seed)
        )
        return after_warmup(space, self.warmup, loss, Phase(1.0, policy, label_loss(loss)))
