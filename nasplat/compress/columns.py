"""The columns of a weight by the channels that they read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, fx, nn

from nasplat.channels import ChannelSpec
from nasplat.compress.norms import set_weight
from nasplat.compress.tracing import CONVOLUTIONS, NORMS, Norm, View, named_calls


@dataclass(frozen=True, slots=True, eq=False)
class Reader:
    """A convolution without groups, or a linear layer, and the channels that it reads.

    numbers (c,): channel numbers. order (columns,): the columns of the weight, sorted by channel, then by place.
    """

    name: str
    layer: nn.Conv2d | nn.Linear
    node: fx.Node
    numbers: Tensor
    order: Tensor

    def by_channel(self, weight: Tensor) -> Tensor:
        """A weight (o, columns, *k) as (o, c, places * k): places are those of a flattened map."""
        return weight[:, self.order].reshape(len(weight), len(self.numbers), -1)

    def as_weight(self, by_channel: Tensor) -> Tensor:
        """The inverse."""
        shape = self.layer.weight.shape
        sorted_ = by_channel.reshape(shape)
        return torch.empty_like(sorted_).index_copy(1, self.order.to(sorted_.device), sorted_)

    def write(self, by_channel: Tensor, stays: Tensor) -> None:
        """Set the weight to one (o, c, places), without the columns of channels that do not stay."""
        kept = by_channel.clone()
        kept[:, ~stays[self.numbers]] = 0
        self.layer.weight.copy_(self.as_weight(kept).to(self.layer.weight))


@dataclass(frozen=True, slots=True, eq=False)
class Removal:
    """What is taken from a network: the layers that lose inputs, and which channel numbers stay (channels,)."""

    view: View
    losing: tuple[Reader, ...]
    stays: Tensor


def readers(view: View, spec: ChannelSpec) -> tuple[list[Reader], dict[str, str]]:
    """All layers whose columns can be told apart by channel, in order of running, and why the others are none."""
    slots = {slot.parameter: slot.channels for slot in spec.slots if slot.axis == 1}
    found, left = [], {}
    for name, layer, node in named_calls(view, (*CONVOLUTIONS, nn.Linear)):
        channels = slots.get(f"{name}.weight")
        if channels is None:
            continue
        why = view.entangled(name)
        if len(channels) > 1:
            why = "its channels are in groups"
        numbers, counts = np.unique(channels[0], return_counts=True)
        if not why and counts.min() != counts.max():
            why = "its channels stand at different numbers of places"
        if why:
            left[name] = why
            continue
        order = torch.from_numpy(channels[0]).argsort(stable=True)
        found.append(Reader(name, cast(nn.Conv2d, layer), node, torch.from_numpy(numbers), order))
    left |= {name: f"{name} runs at {len(calls)} places" for name, calls in view.calls.items()
             if len(calls) > 1 and f"{name}.weight" in slots}  # fmt: skip
    return found, left


def add_constant(view: View, reader: Reader, constant: Tensor) -> bool:
    """Add a constant (o,) to what a layer gives, in its bias or the mean of the norm behind it; whether it could."""
    if reader.layer.bias is not None:
        set_weight(
            reader.layer, reader.layer.weight, reader.layer.bias.detach() + constant.to(reader.layer.bias)
        )
        return True
    norm = norm_behind(view, reader.node)
    if norm is None:
        return False
    cast(Tensor, norm.running_mean).sub_(constant.to(cast(Tensor, norm.running_mean)))
    return True


def holds_constant(view: View, reader: Reader) -> bool:
    """Whether `add_constant` can."""
    return reader.layer.bias is not None or norm_behind(view, reader.node) is not None


def norm_behind(view: View, node: fx.Node) -> Norm | None:
    """The batch norm that alone reads a node and runs once."""
    user = next(iter(node.users), None)
    layer = view.layer(user)
    if len(node.users) != 1 or type(layer) not in NORMS or view.entangled(str(cast(fx.Node, user).target)):
        return None
    norm = cast(Norm, layer)
    return norm if norm.running_mean is not None else None
