"""The sandwich rule: largest, smallest and random architectures in every step."""

from __future__ import annotations

from dataclasses import dataclass

from nasplat.data import Dataset
from nasplat.space import Space
from nasplat.supernet.methods.base import Method, after_warmup, need_classes, training_loss
from nasplat.supernet.objective import distillation, in_place, label_loss
from nasplat.supernet.policy import Sandwich
from nasplat.supernet.recipe import expect
from nasplat.supernet.schedule import Phase, Schedule


@dataclass(frozen=True, slots=True)
class SandwichTraining(Method):
    """The largest, the smallest and random architectures in every step (sandwich rule, arXiv:1903.05134).

    Their gradients are averaged.

    random: random architectures a step.
    alpha: weight of the in-place distillation from the largest to the others, for classification; the label
    loss has 1 - alpha. 0 by default: in trainings of a few minutes the teacher is itself poor, and distillation
    costs accuracy or changes nothing. temperature: of the distillation.

    Control: random architectures alone.
    """

    random: int = 2
    alpha: float = 0.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        Method.__post_init__(self)
        expect("random", self.random, self.random >= 0, "0 or more")
        expect("alpha", self.alpha, 0 <= self.alpha <= 1, "0 to 1")
        expect("temperature", self.temperature, self.temperature > 0, "more than 0")

    def schedule(self, space: Space, data: Dataset, seed: int) -> Schedule:
        """Warm-up, then the sandwich."""
        return after_warmup(space, self.warmup, training_loss(data, self), self.phase(space, data, seed))

    def phase(self, space: Space, data: Dataset, seed: int) -> Phase:
        """The sandwich until the end, with distillation where alpha > 0."""
        loss, policy = training_loss(data, self), Sandwich(space, self.random, seed)
        if not self.alpha:
            return Phase(1.0, policy, label_loss(loss))
        need_classes(data, "alpha")
        objective = distillation(loss, alpha=self.alpha, temperature=self.temperature)
        return Phase(1.0, policy, objective, in_place)
