"""Experts that stay on the CPU and come to the device of their network one at a time, when they are used.

M complete sets of weights, their gradients and momentum need M times the memory of a network. An architecture of a
one-hot router uses one set, so the others may wait where there is room. Streaming is no part of the weight source:
its bank is one that does not move, and its crop one that fetches; without it there is neither.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor, nn

from nasplat.elastic.sizes import Dimension
from nasplat.elastic.weights.soft import AnyArch, SoftArch
from nasplat.elastic.weights.sources import Bank, Crop, Router, WeightSource, slice_crop


def expert_source(old: WeightSource, router: Router, atoms: int, *, stream: bool = False) -> WeightSource:
    """A source of so many atoms for the slot of another one, whose crop it takes over."""
    if not stream:
        return WeightSource(Bank(old.bank.slot, atoms), router, old.crop)
    return WeightSource(StreamedBank(old.bank.slot, atoms), router, StreamedCrop(old.crop))


class StreamedBank(Bank):
    """A bank that keeps its device when its network is moved, and follows it in precision.

    Its gradients and the optimiser's state lie beside its weights, where the optimiser updates them.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        def stay(tensor: Tensor) -> Tensor:
            """`fn` is what `to`, `half` and their like do to a tensor; an empty one shows the new precision."""
            return fn(tensor) if tensor.is_meta else tensor.to(fn(tensor.new_empty(0)).dtype)

        moved: Self = super()._apply(stay, recurse)  # type: ignore[no-untyped-call]
        return moved


class StreamedCrop(nn.Module):
    """A crop that brings what it cuts to the device of the network; gradients go back by autograd.

    A slice is cut before it travels; what else a crop computes, it computes there.
    """

    here: Tensor

    def __init__(self, crop: Crop = slice_crop) -> None:
        super().__init__()
        self.crop = crop
        self.register_buffer("here", torch.empty(0), persistent=False)  # moves with the network

    def forward(self, tensor: Tensor, dimensions: Sequence[Dimension], arch: AnyArch) -> Tensor:
        device = self.here.device
        if self.crop is slice_crop and not isinstance(arch, SoftArch):
            return slice_crop(tensor, dimensions, arch).to(device)
        return self.crop(tensor.to(device), dimensions, arch)
