"""ATen operations that a layer of `torch.nn` makes, as that layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """A tensor of a program, by its name."""

    name: str
    tensor: Tensor


@dataclass(frozen=True, slots=True)
class Made:
    """A layer without values, its name, and which of the program's tensors it takes, by their names in it."""

    name: str
    layer: nn.Module
    tensors: Mapping[str, Held]


Given = Mapping[str, Any]
"""The arguments of an operation by the names of its schema; tensors of the program as `Held`."""


def layer_of(operation: str, given: Given, ndim: int) -> Made | None:
    """The layer that makes an operation; None where none does. ndim: of the operation's result."""
    make = LAYERS.get(operation)
    weight = given.get("weight")
    if make is None or not isinstance(weight, Held):
        return None
    owner = weight.name.rpartition(".")[0]
    named = {word: given.get(word) for word in ("weight", "bias", "running_mean", "running_var")}
    tensors = {word: held for word, held in named.items() if isinstance(held, Held)}
    others = any(value is not None and word not in tensors for word, value in named.items())
    if not owner or others or any(held.name != f"{owner}.{word}" for word, held in tensors.items()):
        return None
    layer = make(given, ndim, tensors)
    return None if layer is None else Made(owner, layer, tensors)


def _convolution(given: Given, ndim: int, tensors: Mapping[str, Held]) -> nn.Module:
    weight, groups = given["weight"].tensor, given["groups"]
    padding = given["padding"]
    dimensions = ndim - 2
    return (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimensions - 1](
        weight.shape[1] * groups,
        len(weight),
        tuple(weight.shape[2:]),
        stride=_spread(given["stride"], dimensions),
        padding=padding if isinstance(padding, str) else _spread(padding, dimensions),
        dilation=_spread(given["dilation"], dimensions),
        groups=groups,
        bias="bias" in tensors,
    )


def _spread(numbers: Any, dimensions: int) -> Any:
    """One number for each dimension: ATen may give one for all."""
    found = tuple(numbers)
    return found * dimensions if len(found) == 1 else found


def _linear(given: Given, ndim: int, tensors: Mapping[str, Held]) -> nn.Module:
    outputs, inputs = given["weight"].tensor.shape
    return nn.Linear(inputs, outputs, bias="bias" in tensors)


def _batch_norm(given: Given, ndim: int, tensors: Mapping[str, Held]) -> nn.Module | None:
    if not {"bias", "running_mean", "running_var"} <= tensors.keys():
        return None
    kind = {4: nn.BatchNorm2d, 5: nn.BatchNorm3d}.get(ndim, nn.BatchNorm1d)
    return kind(len(given["weight"].tensor), eps=given["eps"], momentum=given["momentum"])


def _layer_norm(given: Given, ndim: int, tensors: Mapping[str, Held]) -> nn.Module:
    return nn.LayerNorm(tuple(given["normalized_shape"]), eps=given["eps"], bias="bias" in tensors)


def _group_norm(given: Given, ndim: int, tensors: Mapping[str, Held]) -> nn.Module | None:
    if "bias" not in tensors:
        return None
    return nn.GroupNorm(given["num_groups"], len(given["weight"].tensor), eps=given["eps"])


LAYERS: dict[str, Callable[[Given, int, Mapping[str, Held]], nn.Module | None]] = {
    "conv1d": _convolution,
    "conv2d": _convolution,
    "conv3d": _convolution,
    "linear": _linear,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
}
"""Layers by the names of their operations."""
