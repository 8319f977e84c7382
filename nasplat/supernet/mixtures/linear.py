"""The layers that most mixtures are for: those whose weights have rows and columns."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from nasplat.elastic import Bank
from nasplat.elastic.groups import LINEAR
from nasplat.elastic.weights.memory import TRAINED, check_memory
from nasplat.elastic.weights.replace import Place, places
from nasplat.elastic.weights.sources import Atoms
from nasplat.errors import NasplatError

MOST_SETS = 1000
"""As many sets of weights a layer may have: what is above is a slip of the hand."""


def linear_places(net: nn.Module, patterns: Sequence[str]) -> list[Place]:
    """The linear layers and convolutions among those that match: no norms, tables, class tokens or positions.

    NasplatError for a pattern without a layer, where no linear layer is among them, and for one of several atoms.
    """
    found = [place for place in places(net, patterns) if isinstance(place.layer, LINEAR)]
    if not found:
        raise NasplatError(
            f"no linear layer or convolution matches {list(patterns)}: name some, or leave out layers"
        )
    for place in found:
        if len(place.source.bank) > 1:
            raise already_mixed(place)
    return found


def already_mixed(place: Place) -> NasplatError:
    """What to say of a layer whose weights cannot be shared in one more way."""
    return NasplatError(
        f"{place.name} has {len(place.source.bank)} sets of weights already: leave it out of `layers`"
    )


def check_room(found: Sequence[Place], sets: float, what: str) -> None:
    """NasplatError where so many sets of these layers' weights do not fit into memory; `meta` weights take none."""
    weights = [
        atom for p in found for name in p.source.bank.slot.tensors for atom in p.source.bank.atoms(name)[:1]
    ]
    if not any(weight.is_meta for weight in weights):
        check_memory(round(TRAINED * sets * sum(weight.nbytes for weight in weights)), what)


def check_copies(net: nn.Module, patterns: Sequence[str], sets: int, what: str) -> None:
    """NasplatError where a network with so many sets of the banks that match does not fit; `meta` takes no memory."""
    parameters = list(net.parameters())
    if not any(parameter.is_meta for parameter in parameters):
        banks = [place.source.bank for place in places(net, patterns)]
        copies = (sets - 1) * sum(p.nbytes for bank in banks for p in bank.parameters())
        check_memory(TRAINED * (copies + sum(parameter.nbytes for parameter in parameters)), what)


@torch.no_grad()
def widened(atoms: Atoms, count: int) -> Bank:
    """A bank of `count` atoms: the first are those that are there, the others start as the layer's slot says."""
    bank = Bank(atoms.slot, count)
    for name in atoms.slot.tensors:
        for ours, theirs in zip(bank.atoms(name), atoms.atoms(name), strict=False):
            ours.copy_(theirs)
    return bank
