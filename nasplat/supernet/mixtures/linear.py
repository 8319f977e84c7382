"""The layers that most mixtures are for: those whose weights have rows and columns."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from nasplat.elastic import Bank
from nasplat.elastic.groups import LINEAR
from nasplat.elastic.weights.replace import Place, places
from nasplat.elastic.weights.sources import Atoms
from nasplat.errors import NasplatError


def linear_places(net: nn.Module, patterns: Sequence[str]) -> list[Place]:
    """The linear layers and convolutions among those that match: no norms, tables, class tokens or positions.

    NasplatError for a pattern without a layer, and where no linear layer is among them.
    """
    found = [place for place in places(net, patterns) if isinstance(place.layer, LINEAR)]
    if not found:
        raise NasplatError(
            f"no linear layer or convolution matches {list(patterns)}: name some, or leave out layers"
        )
    return found


@torch.no_grad()
def widened(atoms: Atoms, count: int) -> Bank:
    """A bank of `count` atoms: the first is the first that is there, the others start as the layer's slot says."""
    bank = Bank(atoms.slot, count)
    for name in atoms.slot.tensors:
        bank.atoms(name)[0].copy_(atoms.atoms(name)[0])
    return bank
