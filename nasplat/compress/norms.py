"""Batch norms folded into the layers before them: the same function with fewer operations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, fx, nn

from nasplat.compress.tracing import CONVOLUTIONS, NORMS, TRANSPOSED, Layer, Norm, Rewritten, View, traced

FOLDABLE = (*CONVOLUTIONS, *TRANSPOSED, nn.Linear)
OF_INPUT = (nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.RMSNorm)
PASSING = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


def fold_norms(module: nn.Module, example: Tensor | Sequence[Tensor]) -> Rewritten:
    """A copy in evaluation mode whose batch norms are part of the convolution or linear layer before them.

    w' = w g / sqrt(v + eps) and b' = (b - m) g / sqrt(v + eps) + beta for each output channel, with scale g, shift
    beta, running mean m and variance v (section 3.2 of arXiv:1712.05877). Exact up to rounding; an nn.Identity stands
    where a norm stood. A norm that cannot be folded stays, and `left` says why: its layer is read by others too, runs
    several times, shares its weights; it normalises by its input; it follows no such layer.
    example (n, ...): an input, or a list of inputs. NasplatError as `traced`.
    """
    view = traced(module, example)
    changed, left = [], {}
    for node in view.nodes:
        why = _why_not(view, node)
        if why is None:
            continue
        if why:
            left[_name(node)] = why
            continue
        layer = cast(Layer, view.layer(_source(view, node)))
        fold_into(layer, cast(Norm, view.layer(node)))
        view.module.set_submodule(str(node.target), nn.Identity())
        changed.append(str(node.target))
    return Rewritten(view.module, tuple(changed), left)


def affine(norm: Norm) -> tuple[Tensor, Tensor]:
    """Scale and shift (c,), float64, of a batch norm in evaluation mode: y = x scale + shift."""
    mean, variance = cast(Tensor, norm.running_mean).double(), cast(Tensor, norm.running_var).double()
    gain = torch.ones_like(mean) if norm.weight is None else norm.weight.detach().double()
    shift = torch.zeros_like(mean) if norm.bias is None else norm.bias.detach().double()
    scale = gain / (variance + norm.eps).sqrt()
    return scale, shift - mean * scale


def scaled(layer: nn.Module, scale: Tensor) -> Tensor:
    """The weight of a layer, float64, each of its output channels (o,) times a number."""
    weight = cast(Tensor, layer.weight).detach().double()
    if isinstance(layer, TRANSPOSED):  # (i, o / g, *k), the groups along axis 0
        grouped = weight.reshape(layer.groups, -1, *weight.shape[1:])
        by_group = scale.reshape(layer.groups, 1, -1, *[1] * (weight.ndim - 2))
        return (grouped * by_group).reshape(weight.shape)
    return weight * scale.reshape(-1, *[1] * (weight.ndim - 1))


def fold_into(layer: nn.Module, norm: Norm) -> None:
    """Make a layer compute what it and the norm behind it computed."""
    scale, shift = affine(norm)
    weight = cast(nn.Parameter, layer.weight)
    before = layer.bias.detach().double() if isinstance(layer.bias, Tensor) else 0.0
    set_weight(layer, scaled(layer, scale), before * scale + shift)
    weight.grad = None


def set_weight(layer: nn.Module, weight: Tensor, bias: Tensor | None) -> None:
    """Write a weight and a bias of any type into a layer; a bias that it does not have yet is made."""
    own = cast(nn.Parameter, layer.weight)
    with torch.no_grad():
        own.copy_(weight)
    if bias is None:
        return
    fresh = nn.Parameter(bias.to(own), requires_grad=own.requires_grad)
    layer.register_parameter("bias", fresh)


def _why_not(view: View, node: fx.Node) -> str | None:
    """Why the norm that a node runs stays; "" where it can be folded; None where it runs none."""
    norm = view.layer(node)
    if node.op == "call_function" and getattr(node.target, "__name__", "") == "batch_norm":
        return "it is called as a function"
    if isinstance(norm, OF_INPUT):
        return f"{type(norm).__name__} normalises by its input"
    if type(norm) not in NORMS:
        return None
    if cast(Norm, norm).running_mean is None:
        return "it keeps no running statistics and normalises by its input"
    source = _source(view, node)
    layer = view.layer(source)
    if type(layer) not in FOLDABLE:
        return f"it follows {_name(source)}, which has no weights of its own"
    if isinstance(layer, nn.Linear) and len(view.shapes[node]) != 2:
        return f"axis 1 of what {_name(source)} gives holds places, not channels"
    return view.entangled(str(node.target)) or view.entangled(str(source.target)) or _readers(view, node)


def _source(view: View, node: fx.Node) -> fx.Node:
    """The node before, past layers that do nothing in evaluation mode."""
    found = node.all_input_nodes[0]
    while isinstance(view.layer(found), PASSING):
        found = found.all_input_nodes[0]
    return found


def _readers(view: View, node: fx.Node) -> str:
    """Who else reads what the layer before gives, or ""."""
    found = node.all_input_nodes[0]
    while True:
        others = [_name(user) for user in found.users if user is not node]
        if others:
            return f"{others[0]} also reads what {_name(found)} gives"
        if not isinstance(view.layer(found), PASSING):
            return ""
        node, found = found, found.all_input_nodes[0]


def _name(node: fx.Node) -> str:
    return str(node.target) if node.op == "call_module" else node.name
