"""Mixtures in which layers share weights with each other, beside what architectures share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from nasplat.elastic import Bank, ElasticSpace, WeightSource
from nasplat.elastic.weights.replace import SHARED, Place, register
from nasplat.elastic.weights.templates import Borrowed, Shapes, full_shapes, share_templates
from nasplat.errors import NasplatError
from nasplat.supernet.mixtures.base import Mixture
from nasplat.supernet.mixtures.linear import MOST_SETS, check_room, linear_places, widened
from nasplat.supernet.recipe import expect


@dataclass(frozen=True, slots=True)
class SharedTemplates(Mixture):
    """Weights of any number: all layers are learned mixtures of templates from one bank (arXiv:2006.10598).

    Of the layers that match, linear layers and convolutions, all in one group; the paper also learns groups.

    share: parameters of the bank in relation to those that the layers have of their own.
    templates: of a layer, at most; a layer has as many as the bank holds, and at least one, which may repeat the bank.
    A fair control has as many parameters: a narrower network, or a wider one.
    """

    share: float = 0.5
    templates: int = 2

    def __post_init__(self) -> None:
        expect("templates", self.templates, 1 <= self.templates <= MOST_SETS, f"1 to {MOST_SETS:,}")
        fits = 0 < self.share <= self.templates
        expect(
            "share",
            self.share,
            fits,
            f"above 0 and up to templates = {self.templates}, which use all of the bank",
        )

    def apply(self, net: nn.Module, space: ElasticSpace) -> None:
        found = linear_places(net, self.layers)
        check_room(found, self.share, f"templates of share = {self.share}")
        bank, sources = share_templates([place.source for place in found], self.share, self.templates)
        register(net, SHARED, bank)
        for place, source in zip(found, sources, strict=True):
            place.put(source)


@dataclass(frozen=True, slots=True)
class Tied(Mixture):
    """Layers of equal shape have one set of weights: kernels shared over the depth of a network.

    Of the layers that match, linear layers and convolutions whose weights and biases have the same full shapes; norms,
    crops that learn and layers of a shape of their own stay as they are. Control: plain slicing.
    """

    control: ClassVar[Mapping[str, Any] | None] = {"kind": "slice"}

    def apply(self, net: nn.Module, space: ElasticSpace) -> None:
        alike = defaultdict[Shapes, list[Place]](list)
        for place in linear_places(net, self.layers):
            alike[full_shapes(place.source.bank.slot)].append(place)
        several = [group for group in alike.values() if len(group) > 1]
        if not several:
            raise NasplatError(
                f"no two layers of {space.name} have weights of the same shape: there is nothing to tie"
            )
        banks = [widened(group[0].source.bank, 1) for group in several]
        register(net, SHARED, nn.ModuleList(banks))
        for group, bank in zip(several, banks, strict=True):
            for place in group:
                place.put(_borrower(place, bank))


def _borrower(place: Place, bank: Bank) -> WeightSource:
    return WeightSource(Borrowed(place.source.bank.slot, bank), crop=place.source.crop)
