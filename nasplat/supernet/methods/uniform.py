"""Random architectures alone: the control of every cleverer method."""

from __future__ import annotations

from dataclasses import dataclass

from nasplat.data import Dataset
from nasplat.space import Space
from nasplat.supernet.methods.base import Method, after_warmup, training_loss
from nasplat.supernet.objective import label_loss
from nasplat.supernet.policy import Uniform
from nasplat.supernet.recipe import expect
from nasplat.supernet.schedule import Phase, Schedule


@dataclass(frozen=True, slots=True)
class UniformTraining(Method):
    """Random architectures only (single path, arXiv:1904.00420): the control of every cleverer method.

    per_step: architectures a step, whose gradients are averaged.
    """

    per_step: int = 1

    def __post_init__(self) -> None:
        Method.__post_init__(self)
        expect("per_step", self.per_step, self.per_step >= 1, "at least 1")

    def schedule(self, space: Space, data: Dataset, seed: int) -> Schedule:
        """Warm-up, then random architectures."""
        loss = training_loss(data, self)
        phase = Phase(1.0, Uniform(space, self.per_step, seed), label_loss(loss))
        return after_warmup(space, self.warmup, loss, phase)
