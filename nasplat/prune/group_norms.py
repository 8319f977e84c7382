"""Group norms of channels, and numbers of channels times weights, fast enough for every step of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from nasplat.channels import ChannelSpec
from nasplat.channels.permutation import channels
from nasplat.prune.scores.members import member_slots
from nasplat.prune.slots import spread

Placed: TypeAlias = list[tuple[str, Tensor]]
"""Names of tensors, and for an axis of each the channel of every place, shaped to broadcast against the tensor; the
number behind the last channel says none."""


def placed(spec: ChannelSpec, kinds: Sequence[str]) -> Placed:
    """The members of these kinds, see `nasplat.prune.scores.members.KINDS`."""
    numbers, shapes = torch.arange(channels(spec) + 1), spec.structure.shapes
    slots = member_slots(spec, kinds)
    return [(slot.parameter, spread(slot, shapes[slot.parameter], numbers)) for slot in slots]


def norms(tensors: Mapping[str, Tensor], slots: Placed, count: int) -> Tensor:
    """Of every channel the root of the mean, over the members that carry it, of their sums of squares: (count,)."""
    like = next(tensor for tensor in tensors.values() if tensor.is_floating_point())
    total, carriers = like.new_zeros(count), torch.zeros(count)
    for name, index in slots:
        if name in tensors:
            others = [axis for axis, size in enumerate(index.shape) if size == 1]
            squares = tensors[name].detach().square()
            sums = squares.sum(others, keepdim=True) if others else squares
            total.index_add_(0, index.flatten().to(total.device), sums.flatten().to(total))
            carriers[index.flatten()] += 1
    return (total / carriers.clamp(min=1).to(total)).sqrt()


def factors(sizes: Tensor, spaces: Tensor, alpha: float) -> Tensor:
    """alpha^((I_max - I) / (I_max - I_min)) of group norms I (count,), by space; zero where spaces (count,) is -1."""
    inside = spaces >= 0
    own, which = sizes[inside], spaces[inside]
    empty = sizes.new_zeros(int(spaces.max()) + 1 if len(own) else 0)
    top = empty.scatter_reduce(0, which, own, "amax", include_self=False)[which]
    low = empty.scatter_reduce(0, which, own, "amin", include_self=False)[which]
    gamma = torch.zeros_like(sizes)
    gamma[inside] = alpha ** ((top - own) / torch.where(top > low, top - low, 1))
    return gamma


def weighted(tensors: Mapping[str, Tensor], slots: Placed, numbers: Tensor) -> dict[str, Tensor]:
    """Every tensor times the sum of what numbers (count,) say of the channels of its elements."""
    found: dict[str, Tensor] = {}
    for name, index in slots:
        if name in tensors:
            own = numbers[index.to(numbers.device)].to(tensors[name])
            found[name] = found[name] + own if name in found else own
    return {name: tensors[name].detach() * number for name, number in found.items()}


def elements_of(tensors: Mapping[str, Tensor], slots: Placed, flags: Tensor) -> dict[str, Tensor]:
    """Which elements of every tensor belong to a channel with a flag (count,)."""
    found: dict[str, Tensor] = {}
    for name, index in slots:
        if name in tensors:
            own = flags[index].to(tensors[name].device)
            found[name] = found[name] | own if name in found else own
    return found
