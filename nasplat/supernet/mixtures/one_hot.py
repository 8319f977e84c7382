"""Mixtures in which an architecture has all its weights from one expert, by a rule that never changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from torch import nn

from nasplat.elastic import ElasticSpace, Key, OneHot, WeightSource
from nasplat.elastic.weights.replace import Place, replace_sources
from nasplat.errors import NasplatError, expected_one_of
from nasplat.files import json_hash
from nasplat.space import Arch, Value
from nasplat.supernet.mixtures.base import Mixture
from nasplat.supernet.mixtures.linear import widened
from nasplat.supernet.recipe import expect

MOST_APART = 1000
"""As many architectures can have weights of their own."""


def one_hot_sources(net: nn.Module, router: OneHot, patterns: tuple[str, ...]) -> None:
    """Give layers an atom for each key; the crops stay, and the first atom keeps the weights that are there."""

    def source(place: Place) -> WeightSource:
        return WeightSource(widened(place.source.bank, len(router.key)), router, place.source.crop)

    replace_sources(net, source, patterns)


@dataclass(frozen=True, slots=True)
class Dealt(Mixture):
    """Architectures dealt out at random among experts: the control of everything that learns which goes where.

    experts: complete sets of weights. seed: of the deal, which is a hash of the architecture's values.
    """

    executions: ClassVar[tuple[str, ...]] = ("slice",)  # the mean over all values of all choices has no end

    experts: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        expect("experts", self.experts, self.experts >= 1, "at least 1")

    def apply(self, net: nn.Module, space: ElasticSpace) -> None:
        @lru_cache(MOST_APART)  # every layer asks
        def dealt(arch: Arch) -> int:
            return int(json_hash([self.seed, dict(arch)])[:15], 16) % self.experts

        names = tuple(choice.name for choice in space.choices)
        one_hot_sources(
            net,
            OneHot(Key(names, self.experts, lambda values: dealt(_canonical(space, values)))),
            self.layers,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyed(Mixture):
    """An expert for each value of a choice, such as a complete set of weights for every pooling layout.

    choice: its name; it must be one that every architecture has.
    """

    choice: str

    def apply(self, net: nn.Module, space: ElasticSpace) -> None:
        choices = {choice.name: choice for choice in space.choices}
        if self.choice not in choices:
            raise NasplatError(
                f"choice = {self.choice!r}: {space.name} has no such choice; {expected_one_of(self.choice, choices)}"
            )
        choice = choices[self.choice]
        if choice.when:
            raise NasplatError(
                f"choice = {self.choice!r} is not in every architecture of {space.name}: name another"
            )
        one_hot_sources(net, OneHot(Key.of(choice)), self.layers)


@dataclass(frozen=True, slots=True)
class Separate(Mixture):
    """An expert for each architecture: nothing is shared, up to running statistics. The upper reference of sharing.

    NasplatError for a space of more than 1,000 architectures.
    """

    executions: ClassVar[tuple[str, ...]] = ("slice",)  # as above

    def apply(self, net: nn.Module, space: ElasticSpace) -> None:
        if space.size > MOST_APART:
            raise NasplatError(
                f"{space.name} has {space.size:,} architectures: up to {MOST_APART:,} can have weights of their own; "
                "restrict the space"
            )
        numbers = {arch: number for number, arch in enumerate(space.enumerate())}
        names = tuple(choice.name for choice in space.choices)
        key = Key(names, len(numbers), lambda values: numbers.get(_canonical(space, values), -1))
        one_hot_sources(net, OneHot(key), self.layers)


def _canonical(space: ElasticSpace, values: Mapping[str, Value]) -> Arch:
    """The architecture of these values; of a soft one they may include choices that are inactive."""
    return values if isinstance(values, Arch) else space.arch(values)
