"""What every mixture is: another way in which the architectures of a supernet share its weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

from torch import nn

from nasplat.data import Dataset
from nasplat.elastic import ElasticSpace
from nasplat.files import json_hash
from nasplat.space import Space
from nasplat.supernet.recipe import Recipe
from nasplat.supernet.schedule import Schedule


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """What a mixture is trained in: the supernet that `apply` has edited, its space, and the training of it."""

    net: nn.Module
    space: ElasticSpace
    data: Dataset
    recipe: Recipe
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Steps of an epoch, as the training counts them."""
        n = len(self.data.train)
        return n // min(self.recipe.batch_size, n)


@dataclass(frozen=True, slots=True)
class Mixture(ABC):
    """A way to share weights. Its fields are the keys of a study's `[supernet] mixture` table, beside `kind`.

    layers: patterns of names of the elastic layers that it is for, as ["blocks.*"]; all by default.
    `control` is the mixture table that it is to be compared with, None for plain slicing.
    `executions` are those that it can be trained in.
    """

    control: ClassVar[Mapping[str, Any] | None] = None
    executions: ClassVar[tuple[str, ...]] = ("slice", "mask", "vmap")

    layers: tuple[str, ...] = ("*",)

    @abstractmethod
    def apply(self, net: nn.Module, space: ElasticSpace) -> None:
        """Give a fresh supernet of the space, in place, the sources that share so: what `ElasticSpace.shared` takes.

        New weights start as the layers' slots say, from torch's random numbers, which the caller has seeded.
        NasplatError, before anything is allocated, for what does not fit the space.
        """

    def schedule(self, schedule: Schedule, at: Setting) -> Schedule:
        """The phases of a method, changed by what the mixture learns beside the weights; none by default.

        What comes out is `marked`.
        """
        return self.marked(schedule)

    def marked(self, schedule: Schedule) -> Schedule:
        """The schedule as one of this mixture: run as it allows, and from no checkpoint of another one.

        Two mixtures may well have weights of the same names and shapes.
        """
        mixture = {"mixture": type(self).__name__, **asdict(self)}
        identity = json_hash({"phases": schedule.identity, **mixture})
        return replace(schedule, identity=identity, executions=self.executions)

    def trained(self, space: Space) -> Space:
        """The space of the architectures that a training asks for: with further choices, such as the expert."""
        return space


@dataclass(frozen=True, slots=True)
class Sliced(Mixture):
    """Plain slicing: one set of weights, of which every architecture cuts out its part (arXiv:1908.09791)."""

    def apply(self, net: nn.Module, space: ElasticSpace) -> None:
        """Nothing to edit: a family's layers slice, or share as the family itself says."""

    def schedule(self, schedule: Schedule, at: Setting) -> Schedule:
        """As it is: the training of a supernet that knows of no mixtures."""
        return schedule
