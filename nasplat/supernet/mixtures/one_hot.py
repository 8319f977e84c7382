"""Mixtures in which an architecture has all its weights from one expert, by a rule that never changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import ClassVar

from torch import nn

from nasplat.elastic import ElasticSpace, Key, OneHot, WeightSource
from nasplat.elastic.weights.replace import Place, places
from nasplat.errors import NasplatError, expected_one_of
from nasplat.files import json_hash
from nasplat.space import Arch, Value
from nasplat.supernet.mixtures.base import Mixture
from nasplat.supernet.mixtures.linear import MOST_SETS, already_mixed, check_room, widened
from nasplat.supernet.recipe import expect


@dataclass(frozen=True, slots=True)
class ByRule(Mixture):
    """Experts of which an architecture has one; only slices leave the others without a gradient, so that they stay."""

    executions: ClassVar[tuple[str, ...]] = ("slice",)


def one_hot_sources(net: nn.Module, key: Key, patterns: tuple[str, ...]) -> None:
    """Give layers an expert for each key; the crops stay, and the first expert keeps the weights that are there.

    Where a layer has an atom for each value of a key of its own, every expert has. NasplatError where it mixes atoms.
    """
    found = places(net, patterns)
    check_room(found, len(key), f"{len(key)} experts")
    for place in found:
        router = _router(key, place)
        place.put(WeightSource(widened(place.source.bank, len(router.key)), router, place.source.crop))


def _router(key: Key, place: Place) -> OneHot:
    own = place.source.router
    if isinstance(own, OneHot):
        names = tuple(dict.fromkeys(key.choices + own.key.choices))
        return OneHot(Key(names, len(key) * len(own.key), partial(_within, key, own.key)))
    if len(place.source.bank) > 1:
        raise already_mixed(place)
    return OneHot(key)


def _within(outer: Key, inner: Key, values: Mapping[str, Value]) -> int:
    return outer(values) * len(inner) + inner(values)


@dataclass(frozen=True, slots=True)
class Dealt(ByRule):
    """Architectures dealt out at random among experts: the control of everything that learns which goes where.

    experts: complete sets of weights, no more than there are architectures. seed: of the deal, which is a hash of the
    values of an architecture.
    """

    experts: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        expect("experts", self.experts, 1 <= self.experts <= MOST_SETS, f"1 to {MOST_SETS:,}")

    def apply(self, net: nn.Module, space: ElasticSpace) -> None:
        if self.experts > space.size:
            raise NasplatError(
                f"experts = {self.experts}: {space.name} has {space.size} architectures; give at most {space.size}"
            )

        @lru_cache(MOST_SETS)  # every layer asks
        def dealt(arch: Arch) -> int:
            return int(json_hash([self.seed, dict(arch)])[:15], 16) % self.experts

        names = tuple(choice.name for choice in space.choices)
        key = Key(names, self.experts, lambda values: dealt(_canonical(space, values)))
        one_hot_sources(net, key, self.layers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyed(ByRule):
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
        one_hot_sources(net, Key.of(choice), self.layers)


@dataclass(frozen=True, slots=True)
class Separate(ByRule):
    """An expert for each architecture: nothing is shared, up to running statistics. The upper reference of sharing.

    NasplatError for a space of more than 1,000 architectures.
    """

    def apply(self, net: nn.Module, space: ElasticSpace) -> None:
        if space.size > MOST_SETS:
            raise NasplatError(
                f"{space.name} has {space.size:,} architectures: up to {MOST_SETS:,} can have weights of their own; "
                "restrict the space"
            )
        numbers = {arch: number for number, arch in enumerate(space.enumerate())}
        names = tuple(choice.name for choice in space.choices)
        key = Key(names, len(numbers), lambda values: numbers.get(_canonical(space, values), -1))
        one_hot_sources(net, key, self.layers)


def _canonical(space: ElasticSpace, values: Mapping[str, Value]) -> Arch:
    """The architecture of these values; of a soft one they may include choices that are inactive."""
    return values if isinstance(values, Arch) else space.arch(values)
