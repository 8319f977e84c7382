"""The pull of channels towards zero, strongest on the smallest."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from nasplat.channels import ChannelSpec, Slot
from nasplat.channels.permutation import channels
from nasplat.prune.slots import spread


def channel_norms(tensors: Mapping[str, Tensor], spec: ChannelSpec) -> Tensor:
    """The group L2 norm of every channel, (channels,): the root of the mean, over the tensors that carry it, of sums
    of squares. Weights and scales of norms count, biases and running statistics do not.
    """
    total = _zeros(tensors, channels(spec) + 1)
    carriers = torch.zeros_like(total)
    for slot in _pulled(spec):
        squares = tensors[slot.parameter].square()
        index = _index(slot, tuple(squares.shape), len(total))
        along = [axis for axis in range(squares.ndim) if index.shape[axis] == 1]
        sums = squares.sum(along, keepdim=True) if along else squares
        total.index_add_(0, index.flatten(), sums.flatten())
        carriers[torch.from_numpy(np.unique(slot.channels))] += 1
    return (total / carriers.clamp(min=1)).sqrt()[:-1]


def gradients(tensors: Mapping[str, Tensor], spec: ChannelSpec, alpha: float = 16.0) -> dict[str, Tensor]:
    """gamma_c * w for every tensor that is pulled, summed over the channels c that an element belongs to.

    gamma_c = alpha^((I_max - I_c) / (I_max - I_min)) with I the norms of the channels of a hidden space
    (arXiv:2301.12900 as arXiv:2506.12041 uses it): 1 for the largest channel, alpha for the smallest. Channels with an
    order (inputs, outputs, frozen ones) are not pulled.
    """
    gamma = torch.cat([_gamma(channel_norms(tensors, spec), spec, alpha), _zeros(tensors, 1)])
    found: dict[str, Tensor] = {}
    for slot in _pulled(spec):
        weights = tensors[slot.parameter]
        pull = spread(slot, tuple(weights.shape), gamma) * weights
        found[slot.parameter] = found[slot.parameter] + pull if slot.parameter in found else pull
    return found


def _gamma(norms: Tensor, spec: ChannelSpec, alpha: float) -> Tensor:
    gamma = torch.zeros_like(norms)
    for space in spec.spaces:
        if space.kind == "hidden":
            own = norms[space.start : space.stop]
            share = (own.max() - own) / (own.max() - own.min()).clamp(min=1e-12)
            gamma[space.start : space.stop] = alpha**share
    return gamma


def _pulled(spec: ChannelSpec) -> list[Slot]:
    """Slots of weights and of scales of norms."""
    form = spec.structure
    names = {block.parameter for block in form.blocks}
    names |= {vector.parameter for vector in form.vectors if vector.column == "scale"}
    return [slot for slot in spec.slots if slot.parameter in names]


def _index(slot: Slot, shape: tuple[int, ...], rows: int) -> Tensor:
    """For elements of a tensor the row of their channel, the last for those in none."""
    return spread(slot, shape, torch.arange(rows))


def _zeros(tensors: Mapping[str, Tensor], size: int) -> Tensor:
    like = next(tensor for tensor in tensors.values() if tensor.is_floating_point())
    return torch.zeros(size, dtype=like.dtype, device=like.device)
