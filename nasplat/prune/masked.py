"""Networks with the weights of removed channels at zero: what pruning does, without changing a shape."""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nasplat.channels import ChannelSpec, named_tensors
from nasplat.channels.permutation import channels
from nasplat.errors import NasplatError
from nasplat.prune.slots import owned, spread

Kept = NDArray[np.bool_]
"""Which channels stay, (channels,)."""


def channel_masks(spec: ChannelSpec, kept: Kept) -> dict[str, Tensor]:
    """Of every tensor that carries channels a mask of its shape, on the CPU: False at elements of a removed channel.

    A tensor with two names has its mask under the first. Running variances have none, so that a norm divides by what
    it did. Channels of a block that goes (a head, a group of a convolution) go only if they are not in `kept`
    themselves. NasplatError: `kept` is no array of bools (channels,).
    """
    flags = torch.from_numpy(np.append(checked_kept(spec, kept), True))
    masks: dict[str, Tensor] = {}
    for slot in owned(spec):
        shape = spec.structure.shapes[slot.parameter]
        if slot.parameter not in masks:
            masks[slot.parameter] = torch.ones(shape, dtype=torch.bool)
        masks[slot.parameter] &= spread(slot, shape, flags)
    return masks


def masked(module: nn.Module, spec: ChannelSpec, kept: Kept) -> nn.Module:
    """A copy of a module with every element of a removed channel at zero; see `channel_masks`."""
    made = copy.deepcopy(module)
    tensors = named_tensors(made)
    for name, mask in channel_masks(spec, kept).items():
        tensors[name].masked_fill_(~mask.to(tensors[name].device), 0)
    return made


def checked_kept(spec: ChannelSpec, kept: Kept) -> Kept:
    """`kept` itself. NasplatError: it is no array of bools (channels,)."""
    if kept.dtype != np.bool_ or kept.shape != (channels(spec),):
        raise NasplatError(
            f"which channels stay came as {kept.dtype} of shape {kept.shape}; "
            f"give one bool for each of the {channels(spec)} channels"
        )
    return kept
