"""What all elastic layers share: the two protocols, and how plain layers are filled and channels masked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from nasplat.elastic.sizes import Dimension
from nasplat.elastic.weights.soft import AnyArch, mask_channels
from nasplat.elastic.weights.sources import Slot, WeightSource
from nasplat.space import Arch, Choice

Layer = TypeVar("Layer", bound=nn.Module)
KEEPS_ZERO = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.PReLU,
    nn.GELU,
    nn.SiLU,
    nn.Hardswish,
    nn.Mish,
    nn.ELU,
    nn.Tanh,
)
"""Activations that are zero at zero: a channel that is masked before them stays masked."""


@runtime_checkable
class Elastic(Protocol):
    """A layer that has a plain form in every architecture: a leaf of extraction."""

    def plain(self, arch: Arch) -> nn.Module:
        """The torch.nn layer of one architecture, with copies of its weights.

        Where torch.nn has none: a small module that torch.fx can trace and that can `reset_parameters()`.
        """
        ...


@runtime_checkable
class Restricted(Protocol):
    """A layer that cannot take every size."""

    def check(self, choices: Sequence[Choice]) -> None:
        """Raise NasplatError when some values of the space's choices give a size that the layer cannot take."""
        ...


def affine_slot(channels: Dimension) -> Slot:
    return Slot({"weight": (channels,), "bias": (channels,)}, start_as_identity)


def start_as_identity(tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        nn.init.constant_(tensor, 0.0 if name == "bias" else 1.0)


def masked_affine(source: WeightSource, channels: Dimension, arch: AnyArch) -> tuple[Tensor, Tensor]:
    """Weight and bias of a norm; zero for masked channels under `Masks`, so that the norm masks what it puts out."""
    tensors = source.tensors(arch)
    weight, bias = (mask_channels(tensors[name], channels, arch, axis=0) for name in ("weight", "bias"))
    return weight, bias


def activate(activation: nn.Module, x: Tensor, channels: Dimension, arch: AnyArch) -> Tensor:
    """The activation of x (n, c, h, w), masked anew where it is not known to keep a channel of zeros zero."""
    y: Tensor = activation(x)
    return y if isinstance(activation, KEEPS_ZERO) else mask_channels(y, channels, arch)


def fill(layer: Layer, **weights: Tensor | None) -> Layer:
    """The layer, made without storage, with packed copies of its weights."""
    for name, tensor in weights.items():
        if tensor is not None:
            copy = tensor.detach().clone(memory_format=torch.contiguous_format)
            setattr(layer, name, nn.Parameter(copy))
    return layer
