"""Weights that layers have in common: templates cut out of one flat bank, or a bank for all layers of a shape.

Templates are those of Neural Parameter Allocation Search (arXiv:2006.10598), with one group of all layers: the weights
of a layer are W_l = sum_k c_lk T_lk, with K_l learned coefficients of its own. The bank has any size. Where it
is smaller than a layer it is repeated; where it is larger a layer has several templates, and costs no more to run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count
from typing import TypeAlias

import torch
from torch import Tensor, nn

from nasplat.elastic.weights.soft import AnyArch
from nasplat.elastic.weights.sources import Bank, Slot, WeightSource, combine

Shapes: TypeAlias = tuple[tuple[str, tuple[int, ...]], ...]


class FlatBank(nn.Module):
    """Numbers in a row, read as if they were repeated without end. One row (1, n), so that it decays as weights do."""

    def __init__(self, numbers: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(numbers.reshape(1, -1))

    def window(self, start: int, length: int) -> Tensor:
        """The numbers (length,) from `start` on; a view where they do not go round."""
        row = self.weight[0]
        start %= len(row)
        if start + length <= len(row):
            return row.narrow(0, start, length)
        turns, rest = divmod(length - (len(row) - start), len(row))
        return torch.cat([row[start:], *[row] * turns, row[:rest]])


@dataclass(frozen=True, slots=True, eq=False)
class Templates:
    """The K templates of a layer: windows of a flat bank, each with all tensors of the slot one after the other.

    starts: where the windows begin. A slot's tensors share its coefficients, and a bias its layer's windows.
    """

    slot: Slot
    bank: FlatBank
    starts: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.starts)

    def atoms(self, name: str) -> list[Tensor]:
        """The K full-size tensors of one name: what the windows hold now."""
        names = list(self.slot.tensors)
        before = sum(numel(self.slot, other) for other in names[: names.index(name)])
        shape = [d.maximum for d in self.slot.tensors[name]]
        length = math.prod(shape)
        return [self.bank.window(start + before, length).view(shape) for start in self.starts]

    def parameters(self) -> Iterator[nn.Parameter]:
        """The whole bank."""
        return self.bank.parameters()


def numel(slot: Slot, *names: str) -> int:
    """The numbers in one atom of a slot, or in some of its tensors."""
    return sum(math.prod(d.maximum for d in slot.tensors[name]) for name in names or slot.tensors)


class LayerCoefficients(nn.Module):
    """The learned coefficients (K,) of a layer, the same in all architectures."""

    def __init__(self, coefficients: Tensor) -> None:
        super().__init__()
        self.coefficients = nn.Parameter(coefficients)

    def forward(self, arch: AnyArch) -> list[Tensor]:
        """K tensors ()."""
        return list(self.coefficients.unbind())


@torch.no_grad()
def share_templates(
    sources: Sequence[WeightSource], share: float, most: int
) -> tuple[FlatBank, list[WeightSource]]:
    """A bank, and sources in the place of these with up to `most` templates of it each, their crops kept.

    share: the size of the bank in relation to all weights that the sources have now. Windows follow each other, so all
    of the bank is in use where `most` is at least `share`. The bank starts as those weights, one source after the
    other; the coefficients start at random, and so that each weight has the norm that it has now. With a share of 1
    and one template everything starts as it is.
    """
    size = max(1, round(share * sum(numel(source.bank.slot) for source in sources)))
    bank, start = FlatBank(_starts(sources, size)), 0
    shared = []
    for source in sources:
        length = numel(source.bank.slot)
        templates = max(1, min(most, size // length))
        starts = tuple(start + k * length for k in range(templates))
        start += templates * length
        shared.append(_templated(source, Templates(source.bank.slot, bank, tuple(s % size for s in starts))))
    return bank, shared


def _templated(source: WeightSource, templates: Templates) -> WeightSource:
    """The source with coefficients (1, normal, ...) times what keeps the norm of the weight."""
    own, atoms = source.bank.atoms("weight")[0], templates.atoms("weight")
    coefficients = torch.randn(len(atoms), device=own.device)
    coefficients[0] = 1.0
    scale = own.norm() / combine(coefficients.unbind(), atoms).norm()
    return WeightSource(templates, LayerCoefficients(coefficients * scale), source.crop)


def _starts(sources: Sequence[WeightSource], size: int) -> Tensor:
    """The weights of the sources, then fresh ones, until they are so many."""
    fresh = (Bank(source.bank.slot) for _ in count() for source in sources)
    parts, found = list[Tensor](), 0
    for bank in chain((source.bank for source in sources), fresh):
        parts += [bank.atoms(name)[0].flatten() for name in bank.slot.tensors]
        found += numel(bank.slot)
        if found >= size:
            break
    return torch.cat(parts)[:size].clone()


@dataclass(frozen=True, slots=True, eq=False)
class Borrowed:
    """The atoms of a layer that are those of another: a bank of the same shapes, with sizes of this layer's own."""

    slot: Slot
    bank: Bank

    def __len__(self) -> int:
        return len(self.bank)

    def atoms(self, name: str) -> list[Tensor]:
        """The K full-size tensors of one name."""
        return self.bank.atoms(name)

    def parameters(self) -> Iterator[nn.Parameter]:
        """Those of the bank."""
        return self.bank.parameters()


def full_shapes(slot: Slot) -> Shapes:
    """The names and full shapes of tensors: equal for layers that can have one bank."""
    return tuple((name, tuple(d.maximum for d in sizes)) for name, sizes in slot.tensors.items())
