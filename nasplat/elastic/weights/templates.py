"""Weights that layers have in common: templates cut out of one flat bank, or a bank for all layers of a shape.

Templates are those of Neural Parameter Allocation Search (arXiv:2006.10598), with one group of all layers: the weights
of a layer are W_l = sum_k c_lk T_lk, with K_l learned coefficients of its own. The bank has any size. Where it
is smaller than a layer it is repeated; where it is larger a layer has several templates, and costs no more to run.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, count, pairwise
from typing import TypeAlias

import torch
from torch import Tensor, nn

from nasplat.elastic.weights.soft import AnyArch
from nasplat.elastic.weights.sources import Bank, Slot, WeightSource, combine

Shapes: TypeAlias = tuple[tuple[str, tuple[int, ...]], ...]


class FlatBank(nn.Module):
    """Numbers (n,) in a row, read as if they were repeated without end, in windows that begin and end at `cuts`.

    What lies between two cuts is a Parameter, so that the gradient of a window is as long as the window and not as the
    bank. Each is one row (1, length), and decays as weights do.
    """

    def __init__(self, numbers: Tensor, cuts: Iterable[int]) -> None:
        super().__init__()
        self.size = len(numbers)
        self.begins = sorted({0, *(cut % self.size for cut in cuts)})
        for k, (begin, end) in enumerate(pairwise([*self.begins, self.size])):
            self.register_parameter(f"weight_{k}", nn.Parameter(numbers[None, begin:end].clone()))

    def window(self, start: int, length: int) -> Tensor:
        """The numbers (length,) from `start` on."""
        number, rows, missing = self.begins.index(start % self.size), list[Tensor](), length
        while missing:
            rows.append(self.get_parameter(f"weight_{number}")[0])
            missing -= len(rows[-1])
            number = (number + 1) % len(self.begins)
        return rows[0] if len(rows) == 1 else torch.cat(rows)


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
        shape, (begin, end) = [d.maximum for d in self.slot.tensors[name]], spans(self.slot)[name]
        return [self.bank.window(start + begin, end - begin).view(shape) for start in self.starts]

    def parameters(self) -> Iterator[nn.Parameter]:
        """The whole bank."""
        return self.bank.parameters()


def spans(slot: Slot) -> dict[str, tuple[int, int]]:
    """Where each tensor begins and ends in an atom of a slot, as one row."""
    sizes = [math.prod(d.maximum for d in dimensions) for dimensions in slot.tensors.values()]
    return dict(zip(slot.tensors, pairwise(accumulate(sizes, initial=0)), strict=True))


def numel(slot: Slot) -> int:
    """The numbers in one atom of a slot."""
    return max(end for _, end in spans(slot).values())


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
    slots = [source.bank.slot for source in sources]
    size = max(1, round(share * sum(map(numel, slots))))
    starts = _layout([numel(slot) for slot in slots], size, most)
    edges = [[0, *(end for _, end in spans(slot).values())] for slot in slots]
    cuts = (start + e for own, ends in zip(starts, edges, strict=True) for start in own for e in ends)
    bank = FlatBank(_starts(sources, size), cuts)
    templates = (Templates(slot, bank, own) for slot, own in zip(slots, starts, strict=True))
    return bank, [_templated(source, own) for source, own in zip(sources, templates, strict=True)]


def _layout(lengths: Sequence[int], size: int, most: int) -> list[tuple[int, ...]]:
    """Where the templates of each layer start in a bank: one after the other, as many as it holds, and up to `most`.

    Where these leave a part of the bank out, layers have one more, which goes on from its beginning.
    """
    counts = [max(1, min(most, size // length)) for length in lengths]
    if sum(map(math.prod, zip(counts, lengths, strict=True))) < size:
        counts = [min(most, math.ceil(size / length)) for length in lengths]
    starts, start = [], 0
    for templates, length in zip(counts, lengths, strict=True):
        starts.append(tuple((start + k * length) % size for k in range(templates)))
        start += templates * length
    return starts


def _templated(source: WeightSource, templates: Templates) -> WeightSource:
    """The source with coefficients (1, normal, ...) times what keeps the norm of the weight, where there is one."""
    own, atoms = source.bank.atoms("weight")[0], templates.atoms("weight")
    coefficients = torch.randn(len(atoms), device=own.device)
    coefficients[0] = 1.0
    mixed = combine(coefficients.unbind(), atoms).norm()
    scale = torch.where(mixed > 0, own.norm() / mixed, 1.0)
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
    return torch.cat(parts)[:size]


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
