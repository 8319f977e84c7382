"""Norms by the statistics of each input alone: group norm, EvoNorm-S0, layer norm. Nothing is recalibrated."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.elastic.layers.base import affine_slot, fill, masked_affine, start_as_identity
from nasplat.elastic.sizes import Dimension, Size, assignments, dimension
from nasplat.elastic.weights.soft import AnyArch, SoftArch, mask_channels
from nasplat.elastic.weights.sources import Slot, SourceFactory, sliced
from nasplat.errors import NasplatError
from nasplat.space import Arch, Choice


class InGroups(nn.Module, ABC):
    """A norm of channels in groups of fixed size; the weights that it asks for are those of `slot`."""

    def __init__(
        self,
        channels: int | Dimension,
        group: int = 8,
        *,
        eps: float = 1e-5,
        source: SourceFactory = sliced,
    ) -> None:
        super().__init__()
        self.channels, self.group, self.eps = dimension(channels), group, eps
        _refuse_part_of_a_group(self.channels.maximum, group)
        self.source = source(self.slot())

    @abstractmethod
    def slot(self) -> Slot:
        """What the norm needs from its source."""

    def check(self, choices: Sequence[Choice]) -> None:
        """NasplatError when a width of the space is no multiple of the group."""
        for values in assignments(self.channels.choices, choices):
            _refuse_part_of_a_group(self.channels(values), self.group)


class ElasticGroupNorm(InGroups):
    """Group normalisation (arXiv:1803.08494) with groups of fixed size: their number follows the width.

    Shapes: x (n, c, h, w) -> (n, c, h, w), c a multiple of `group` in every architecture (NasplatError).
    """

    def slot(self) -> Slot:
        return affine_slot(self.channels)

    def forward(self, x: Tensor, arch: AnyArch) -> Tensor:
        weight, bias = masked_affine(self.source, self.channels, arch)
        return F.group_norm(x, weight.shape[0] // self.group, weight, bias, self.eps)

    def plain(self, arch: Arch) -> nn.GroupNorm:
        """The ordinary group norm of one architecture, with copied weights."""
        weight, bias = self.source(arch)
        channels = weight.shape[0]
        layer = nn.GroupNorm(channels // self.group, channels, self.eps, device="meta")
        return fill(layer, weight=weight, bias=bias)


class ElasticEvoNorm2d(InGroups):
    """EvoNorm-S0 (arXiv:2004.02967, table 2), a norm and activation in one, with groups of fixed size.

    Shapes: x (n, c, h, w) -> (n, c, h, w), c a multiple of `group` in every architecture (NasplatError).
    """

    def slot(self) -> Slot:
        shape = (self.channels, Size(1), Size(1))
        return Slot({"weight": shape, "bias": shape, "v": shape}, start_as_identity)

    def forward(self, x: Tensor, arch: AnyArch) -> Tensor:
        y = evonorm_s0(x, **self.source.tensors(arch), group=self.group, eps=self.eps)
        return mask_channels(y, self.channels, arch)

    def plain(self, arch: Arch) -> EvoNorm2d:
        """The same layer of one architecture, with copied weights."""
        tensors = self.source.tensors(arch)
        return fill(EvoNorm2d(len(tensors["v"]), self.group, self.eps, device="meta"), **tensors)


class EvoNorm2d(nn.Module):
    """EvoNorm-S0 of a fixed number of channels. Shapes: x (n, c, h, w) -> (n, c, h, w)."""

    weight: nn.Parameter
    bias: nn.Parameter
    v: nn.Parameter

    def __init__(
        self, channels: int, group: int, eps: float = 1e-5, device: torch.device | str | None = None
    ) -> None:
        super().__init__()
        self.group, self.eps = group, eps
        for name in ("weight", "bias", "v"):
            self.register_parameter(name, nn.Parameter(torch.empty(channels, 1, 1, device=device)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start with weight and v at one, bias at zero."""
        start_as_identity(dict(self.named_parameters()))

    def forward(self, x: Tensor) -> Tensor:
        return evonorm_s0(x, self.weight, self.bias, self.v, group=self.group, eps=self.eps)


def evonorm_s0(x: Tensor, weight: Tensor, bias: Tensor, v: Tensor, *, group: int, eps: float) -> Tensor:
    """x * sigmoid(v x) / sqrt(var + eps) * weight + bias, var that of an image's group of channels, biased.

    Shapes: x (n, c, h, w); weight, bias, v (c, 1, 1) -> (n, c, h, w).
    """
    groups = (weight.shape[0] // group, group)
    var = torch.unflatten(x, 1, groups).var((2, 3, 4), correction=0, keepdim=True)
    y = torch.unflatten(x * torch.sigmoid(v * x), 1, groups) * torch.rsqrt(var + eps)
    return y.flatten(1, 2) * weight + bias


class ElasticLayerNorm(nn.Module):
    """Layer normalisation (arXiv:1607.06450) over the last axis. Shapes: x (..., c) -> (..., c).

    Under a soft architecture of elastic width, mean and variance weigh every channel by its probability.
    """

    def __init__(
        self, channels: int | Dimension, *, eps: float = 1e-5, source: SourceFactory = sliced
    ) -> None:
        super().__init__()
        self.channels, self.eps = dimension(channels), eps
        self.source = source(affine_slot(self.channels))

    def forward(self, x: Tensor, arch: AnyArch) -> Tensor:
        weight, bias = masked_affine(self.source, self.channels, arch)
        if isinstance(arch, SoftArch) and not arch.is_whole(self.channels):
            mask = arch.mask(self.channels)
            share = mask / mask.sum()
            centred = x - (x * share).sum(-1, keepdim=True)
            var = (centred.square() * share).sum(-1, keepdim=True)
            return centred * torch.rsqrt(var + self.eps) * weight + bias
        return F.layer_norm(x, weight.shape, weight, bias, self.eps)

    def plain(self, arch: Arch) -> nn.LayerNorm:
        """The ordinary layer norm of one architecture, with copied weights."""
        weight, bias = self.source(arch)
        return fill(nn.LayerNorm(weight.shape[0], self.eps, device="meta"), weight=weight, bias=bias)


def _refuse_part_of_a_group(channels: int, group: int) -> None:
    if channels % group:
        raise NasplatError(
            f"a norm in groups of {group} gets {channels} channels: choose widths that {group} divides"
        )
