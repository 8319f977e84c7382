"""Mixture-of-Supernets: every layer merges several experts into one weight for the architecture that runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from nasplat.elastic import Constant, ElasticSpace, Router, Slot, WeightSource
from nasplat.elastic.weights.arch_router import ArchRouter
from nasplat.elastic.weights.encoding import ArchEncoding
from nasplat.supernet.mixtures.base import Mixture
from nasplat.supernet.mixtures.linear import MOST_SETS, check_room, linear_places, widened
from nasplat.supernet.recipe import expect

PER = ("layer", "neuron")


@dataclass(frozen=True, slots=True)
class MixtureOfSupernets(Mixture):
    """Experts merged by a router that reads the architecture, then sliced (arXiv:2306.04845).

    Of the layers that match, linear layers and convolutions. A layer costs `experts` times its parameters, and a merge
    whenever it runs; a subnet that is taken out is merged, and costs nothing more. Expert 0 starts as the layer would
    without a mixture.

    per: "layer", coefficients for the layer; "neuron", for each row of its weight, or each head of attention.
    router: "learned"; "frozen", at random and never trained; "constant", the plain average of the experts, which does
    not read the architecture. hidden: units of a router. Control: the constant router.
    """

    control: ClassVar[Mapping[str, Any] | None] = {"kind": "moe", "router": "constant"}

    experts: int = 2
    per: str = "layer"
    router: str = "learned"
    hidden: int = 64

    def __post_init__(self) -> None:
        expect("experts", self.experts, 1 <= self.experts <= MOST_SETS, f"1 to {MOST_SETS:,}")
        expect("per", self.per, self.per in PER, f"one of {', '.join(PER)}")
        expect("router", self.router, self.router in ROUTERS, f"one of {', '.join(ROUTERS)}")
        expect("hidden", self.hidden, self.hidden >= 1, "at least 1")

    def apply(self, net: nn.Module, space: ElasticSpace) -> None:
        found, encoding = linear_places(net, self.layers), ArchEncoding(space.choices)
        check_room(found, self.experts, f"{self.experts} experts")
        for place in found:
            source = place.source
            router = ROUTERS[self.router](self, encoding, source.bank.slot)
            place.put(WeightSource(widened(source.bank, self.experts), router, source.crop))


def _constant(mixture: MixtureOfSupernets, encoding: ArchEncoding, slot: Slot) -> Router:
    return Constant((1 / mixture.experts,) * mixture.experts)


def _learned(mixture: MixtureOfSupernets, encoding: ArchEncoding, slot: Slot) -> ArchRouter:
    rows = slot.tensors["weight"][0].maximum if mixture.per == "neuron" else None
    return ArchRouter(encoding, mixture.experts, rows=rows, hidden=mixture.hidden)


def _frozen(mixture: MixtureOfSupernets, encoding: ArchEncoding, slot: Slot) -> ArchRouter:
    return _learned(mixture, encoding, slot).requires_grad_(False)


ROUTERS: dict[str, Callable[[MixtureOfSupernets, ArchEncoding, Slot], Router]] = {
    "learned": _learned,
    "frozen": _frozen,
    "constant": _constant,
}
"""What a router may be, by name."""
