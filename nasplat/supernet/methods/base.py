"""What every training method is: a recipe that knows the phases of a supernet's training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import torch.nn.functional as F

from nasplat.data import Dataset
from nasplat.errors import TrainingError
from nasplat.space import Space
from nasplat.supernet.objective import Loss, label_loss
from nasplat.supernet.policy import Fixed
from nasplat.supernet.recipe import Recipe, expect
from nasplat.supernet.schedule import Phase, Schedule


def training_loss(data: Dataset, recipe: Recipe) -> Loss:
    """The loss of the data's task; smoothed cross entropy where the recipe smooths labels."""
    if not recipe.label_smoothing:
        return data.task.loss
    need_classes(data, "label_smoothing")
    return partial(F.cross_entropy, label_smoothing=recipe.label_smoothing)


def need_classes(data: Dataset, what: str) -> None:
    """Raise TrainingError for a setting that only a classification has."""
    if data.classes is None:
        raise TrainingError(f"{what} needs a classification, and {data.name!r} has no classes; set it to 0")


def after_warmup(space: Space, warmup: float, loss: Loss, *phases: Phase) -> Schedule:
    """Phases, after a first share of the steps that trains the largest architecture by its labels.

    The phases end at shares of what is left.
    """
    first = (Phase(warmup, Fixed((space.largest(),)), label_loss(loss)),) if warmup else ()
    later = [replace(phase, until=1 - (1 - warmup) * (1 - phase.until)) for phase in phases]
    return Schedule((*first, *later), identity=space.hash, space=space)


@dataclass(frozen=True, slots=True)
class Method(Recipe, ABC):
    """A recipe with phases. Its fields are the keys of a study's [supernet] table, beside `method`.

    warmup: share of the steps, at the start, that train the largest architecture alone.
    `control` is the [supernet] table that the method is to be compared with.
    """

    control: ClassVar[Mapping[str, Any]] = {"method": "uniform"}

    warmup: float = 0.0

    def __post_init__(self) -> None:
        Recipe.__post_init__(self)
        expect("warmup", self.warmup, 0 <= self.warmup < 1, "0 to below 1, a share of all steps")

    @abstractmethod
    def schedule(self, space: Space, data: Dataset, seed: int) -> Schedule:
        """The phases in which a supernet of this space learns this data."""
