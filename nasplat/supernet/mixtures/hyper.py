"""A hypernetwork that computes the weights of a supernet's layers from the architecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from nasplat.elastic import ElasticSpace, WeightSource
from nasplat.elastic.weights.encoding import ArchEncoding
from nasplat.elastic.weights.hyper import FromHypernetwork, Hypernetwork, start_columns
from nasplat.elastic.weights.replace import SHARING, register
from nasplat.supernet.mixtures.base import Mixture
from nasplat.supernet.mixtures.linear import check_room, linear_places, widened
from nasplat.supernet.recipe import expect

MOST_ATOMS = 64


@dataclass(frozen=True, slots=True)
class Hyper(Mixture):
    """One hypernetwork for all layers (arXiv:1609.09106), which computes full-size weights; subnets are cut out.

    Of the layers that match, linear layers and convolutions.

    atoms: its last hidden units, and the parameters of a layer in relation to plain ones. hidden: units before them.
    magnitude_invariant: encode the architecture with constant norm, and add what is computed to weights that start as
    without a hypernetwork (arXiv:2304.07645), which are one of the atoms. Control: the plain hypernetwork.
    """

    control: ClassVar[Mapping[str, Any] | None] = {"kind": "hyper", "magnitude_invariant": False}

    atoms: int = 4
    magnitude_invariant: bool = True
    hidden: int = 64

    def __post_init__(self) -> None:
        expect(
            "atoms",
            self.atoms,
            2 <= self.atoms <= MOST_ATOMS,
            f"2 to {MOST_ATOMS}: each costs a set of weights",
        )
        expect("hidden", self.hidden, self.hidden >= 1, "at least 1")

    def apply(self, net: nn.Module, space: ElasticSpace) -> None:
        found, invariant = linear_places(net, self.layers), self.magnitude_invariant
        check_room(found, self.atoms, f"{self.atoms} atoms")
        encoding = ArchEncoding(space.choices)
        trunk = Hypernetwork(encoding, self.atoms, hidden=self.hidden, magnitude_invariant=invariant)
        register(net, SHARING, trunk)
        for place in found:
            bank = widened(place.source.bank, self.atoms)
            start_columns(bank, magnitude_invariant=invariant)
            place.put(WeightSource(bank, FromHypernetwork(trunk), place.source.crop))
