"""Which layers and operations a picture shows, and what it says about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import fx, nn
from torch.nn.modules.conv import _ConvNd

Kind = Literal["conv", "depthwise", "linear", "pool"]
Shape = tuple[int, ...]

TIMES = "\N{MULTIPLICATION SIGN}"

LAYERS = (_ConvNd, nn.Linear, *(getattr(nn, f"{how}Pool{d}d") for how in ("Max", "Avg") for d in (1, 2, 3)))
LAYERS += tuple(getattr(nn, f"Adaptive{how}Pool{d}d") for how in ("Max", "Avg") for d in (1, 2, 3))


@dataclass(frozen=True, slots=True)
class Block:
    """One layer: its name in the module, what to write under it, and the shape (channels, size) of its output.

    kernel: longest side of the kernel, 0 where there is none. size: (h, w), or () without spatial axes.
    """

    name: str
    kind: Kind
    label: str
    kernel: int
    channels: int
    size: Shape


def layer_block(name: str, layer: nn.Module, shape: Shape) -> Block | None:
    """The block of a layer whose output has `shape` (n, c, ...); None for a layer that is not drawn."""
    if isinstance(layer, _ConvNd):
        deep = 1 < layer.groups == layer.in_channels
        label = _kernel_text(layer.kernel_size) + (f" /{max(layer.stride)}" if max(layer.stride) > 1 else "")
        kind: Kind = "depthwise" if deep else "conv"
        return Block(name, kind, label, max(layer.kernel_size), shape[1], shape[2:])
    if isinstance(layer, nn.Linear):
        return Block(name, "linear", "linear", 0, shape[-1], ())
    if isinstance(layer, LAYERS):
        return pool_block(name, type(layer).__name__, shape)
    return None


def pool_block(name: str, operation: str, shape: Shape) -> Block:
    """The block of an operation that makes maps smaller and keeps channels."""
    size = shape[2:]
    how = "max" if "max" in operation.lower() else "sub" if "getitem" in operation else "avg"
    label = "global" if all(side == 1 for side in size) else how
    return Block(name, "pool", label, 0, shape[1], size)


def node_block(
    node: fx.Node, layers: Mapping[str, nn.Module], shapes: Mapping[fx.Node, Shape]
) -> Block | None:
    """The block of a node of a traced graph; None for one that is not drawn."""
    shape = shapes[node]
    if node.op == "call_module":
        return layer_block(str(node.target), layers[str(node.target)], shape)
    before = shapes.get(node.all_input_nodes[0], ())
    smaller = len(before) > 2 and before[:2] == shape[:2] and _area(shape) < _area(before)
    return (
        pool_block(node.name, str(getattr(node.target, "__name__", node.target)), shape) if smaller else None
    )


def _kernel_text(sides: tuple[int, ...]) -> str:
    return TIMES.join(str(side) for side in sides)


def _area(shape: Shape) -> int:
    return int(torch.Size(shape[2:]).numel())
