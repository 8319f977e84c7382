"""Numbers of channels as numbers of the elements of tensors, and back: through the slots of a spec."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from nasplat.channels import ChannelSpec, Slot


def owned(spec: ChannelSpec) -> Iterator[Slot]:
    """The slots of what training changes or removing a channel zeroes: all but those of running variances."""
    variances = {vector.parameter for vector in spec.structure.vectors if vector.column == "variance"}
    return (slot for slot in spec.slots if slot.parameter not in variances)


def spread(slot: Slot, shape: tuple[int, ...], values: Tensor) -> Tensor:
    """For every element of a tensor of a shape the value of the channel that a slot gives it.

    values (*batch, channels + 1), the last one for elements in no channel -> (*batch, *axes), which broadcasts to
    (*batch, *shape): a plain slot varies along its axis, one with groups along axis 0 also.
    """
    rows = values[..., torch.from_numpy(slot.channels).to(values.device)]
    groups, length = slot.channels.shape
    axes = [1] * len(shape)
    axes[slot.axis] = length
    if groups > 1:
        axes[0] = shape[0]
        rows = rows.repeat_interleave(shape[0] // groups, -2)
    return rows.reshape(*values.shape[:-1], *axes)


def viewed(slot: Slot, tensor: Tensor) -> Tensor:
    """A view of a tensor (*shape) whose first axes are those of the slot's channels: (groups, length, *rest)."""
    groups = len(slot.channels)
    if groups == 1:
        return tensor.movedim(slot.axis, 0)[None]
    size = tensor.shape[0] // groups
    return tensor.view(groups, size, *tensor.shape[1:]).movedim(slot.axis + 1, 1)


def rows_of(slot: Slot, elements: Tensor) -> Tensor:
    """A tensor's elements one channel per row: (*shape) -> (groups, length, rest), a view where strides allow it.

    Row (g, i) holds the elements of the channel `slot.channels[g, i]`.
    """
    return viewed(slot, elements).reshape(*slot.channels.shape, -1)
