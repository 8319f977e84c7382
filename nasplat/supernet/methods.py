"""Training methods: a recipe that knows the phases of a supernet's training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial

import torch.nn.functional as F

from nasplat.data import Dataset
from nasplat.errors import TrainingError
from nasplat.space import Space
from nasplat.supernet.objective import Loss, distillation, in_place, label_loss
from nasplat.supernet.policy import Fixed, Sandwich, Uniform
from nasplat.supernet.recipe import Recipe, expect
from nasplat.supernet.schedule import Phase, Schedule


def training_loss(data: Dataset, recipe: Recipe) -> Loss:
    """The loss of the data's task; smoothed cross entropy where the recipe smooths labels."""
    if not recipe.label_smoothing:
        return data.task.loss
    _need_classes(data, "label_smoothing")
    return partial(F.cross_entropy, label_smoothing=recipe.label_smoothing)


def _need_classes(data: Dataset, what: str) -> None:
    if data.classes is None:
        raise TrainingError(f"{what} needs a classification, and {data.name!r} has no classes; set it to 0")


def _after_warmup(space: Space, warmup: float, phase: Phase, loss: Loss) -> Schedule:
    """The phase, after a first share of the steps that trains the largest architecture by its labels."""
    largest = Phase(warmup, Fixed((space.largest(),)), label_loss(loss))
    return Schedule((largest, phase) if warmup else (phase,), identity=space.hash)


@dataclass(frozen=True, slots=True)
class Method(Recipe, ABC):
    """A recipe with phases. Its fields are the keys of a study's [supernet] table, beside `method`.

    warmup: share of the steps, at the start, that train the largest architecture alone.
    """

    warmup: float = 0.0

    def __post_init__(self) -> None:
        Recipe.__post_init__(self)
        expect("warmup", self.warmup, 0 <= self.warmup < 1, "0 to below 1, a share of all steps")

    @abstractmethod
    def schedule(self, space: Space, data: Dataset, seed: int) -> Schedule:
        """The phases in which a supernet of this space learns this data."""


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
        return _after_warmup(space, self.warmup, phase, loss)


@dataclass(frozen=True, slots=True)
class SandwichTraining(Method):
    """The largest, the smallest and random architectures in every step (sandwich rule, arXiv:1903.05134).

    Their gradients are averaged.

    random: random architectures a step.
    alpha: weight of the in-place distillation from the largest to the others, for classification; the label
    loss has 1 - alpha. 0 by default: in trainings of a few minutes the teacher is itself poor, and distillation
    costs accuracy or changes nothing. temperature: of the distillation.
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
        """Warm-up, then the sandwich, with distillation where alpha > 0."""
        loss, policy = training_loss(data, self), Sandwich(space, self.random, seed)
        phase = Phase(1.0, policy, label_loss(loss))
        if self.alpha:
            _need_classes(data, "alpha")
            objective = distillation(loss, alpha=self.alpha, temperature=self.temperature)
            phase = Phase(1.0, policy, objective, in_place)
        return _after_warmup(space, self.warmup, phase, loss)


METHODS: dict[str, type[Method]] = {"uniform": UniformTraining, "sandwich": SandwichTraining}
"""The methods that a study can name: METHODS[name](**table) is a recipe, its .schedule(...) the phases."""
