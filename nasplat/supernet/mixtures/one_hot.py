"""Mixtures in which an architecture has all its weights from one expert, by a rule that never changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from torch import nn

from nasplat.elastic import Bank, ElasticSpace, Key, OneHot, WeightSource
from nasplat.elastic.weights.replace import Place, replace_sources
from nasplat.files import json_hash
from nasplat.space import Value
from nasplat.supernet.mixtures.base import Mixture
from nasplat.supernet.recipe import expect


def one_hot_sources(net: nn.Module, router: OneHot, patterns: tuple[str, ...]) -> None:
    """Give layers an atom for each key; the crops stay, and the first atom keeps the weights that are there."""

    def source(place: Place) -> WeightSource:
        bank = Bank(place.source.bank.slot, len(router.key))
        return WeightSource(bank, router, place.source.crop)

    replace_sources(net, source, patterns)


@dataclass(frozen=True, slots=True)
class Dealt(Mixture):
    """Architectures dealt out at random among experts: the control of everything that learns which goes where.

    experts: complete sets of weights. seed: of the deal, which is a hash of the architecture's values.
    """

    experts: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        expect("experts", self.experts, self.experts >= 1, "at least 1")

    def apply(self, net: nn.Module, space: ElasticSpace) -> None:
        names = tuple(choice.name for choice in space.choices)
        one_hot_sources(net, OneHot(Key(names, self.experts, partial(_dealt, self))), self.layers)


def _dealt(mixture: Dealt, arch: Mapping[str, Value]) -> int:
    return int(json_hash([mixture.seed, dict(arch)])[:15], 16) % mixture.experts
