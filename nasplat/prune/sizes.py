"""Sizes that layers keep beside their tensors: channels, groups, the shape of norms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from nasplat.prune.cutting import Cut, Cuts

Shape = tuple[int, ...]
Sizes = dict[str, Any]
Own = Mapping[str, tuple[Shape, tuple[Cut, ...]]]
"""Of a layer: what is left of each tensor that was cut, and its cuts."""


def sizes_of(module: nn.Module, cuts: Cuts) -> dict[str, Sizes]:
    """The sizes that torch's own layers must be given when their tensors are cut, by name of the layer."""
    own: dict[int, dict[str, tuple[Shape, tuple[Cut, ...]]]] = {}
    tensors = {id(tensor): name for name, tensor in module.state_dict(keep_vars=True).items() if name in cuts}
    found: dict[str, Sizes] = {}
    for name, layer in module.named_modules(remove_duplicate=True):
        rule = next((rule for kind, rule in RULES.items() if isinstance(layer, kind)), None)
        if rule is None:
            continue
        held = [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]
        own[id(layer)] = {
            short: (_left(tuple(tensor.shape), cuts[tensors[id(tensor)]]), cuts[tensors[id(tensor)]])
            for short, tensor in held
            if id(tensor) in tensors
        }
        if own[id(layer)]:
            found[name] = rule(layer, own[id(layer)])
    return found


def _left(shape: Shape, cuts: tuple[Cut, ...]) -> Shape:
    sizes = list(shape)
    for cut in cuts:
        sizes[cut.axis] = max(map(len, cut.keep))
    return tuple(sizes)


def _conv(layer: Any, own: Own) -> Sizes:
    """Of a convolution, or of a transposed one, whose first axis is the input's."""
    shape, cuts = own.get("weight", (tuple(layer.weight.shape), ()))
    rows = next((cut.keep[0] for cut in cuts if cut.axis == 0), tuple(range(len(layer.weight))))
    share = max(1, len(layer.weight) // layer.groups)
    groups = len({row // share for row in rows})
    first, second = shape[0], shape[1] * groups
    inputs, outputs = (first, second) if isinstance(layer, _ConvTransposeNd) else (second, first)
    return {"in_channels": inputs, "out_channels": outputs, "groups": groups}


def _linear(layer: Any, own: Own) -> Sizes:
    shape, _ = own.get("weight", (tuple(layer.weight.shape), ()))
    return {"in_features": shape[1], "out_features": shape[0]}


def _batch_norm(layer: Any, own: Own) -> Sizes:
    return {"num_features": next(iter(own.values()))[0][0]}


def _layer_norm(layer: Any, own: Own) -> Sizes:
    return {"normalized_shape": list(next(iter(own.values()))[0])}


def _group_norm(layer: Any, own: Own) -> Sizes:
    shape, cuts = next(iter(own.values()))
    share = layer.num_channels // layer.num_groups
    return {"num_channels": shape[0], "num_groups": len({place // share for place in cuts[0].keep[0]})}


def _embedding(layer: Any, own: Own) -> Sizes:
    shape, _ = own["weight"]
    return {"num_embeddings": shape[0], "embedding_dim": shape[1]}


def _prelu(layer: Any, own: Own) -> Sizes:
    return {"num_parameters": own["weight"][0][0]}


def _attention(layer: Any, own: Own) -> Sizes:
    """Of torch's attention, whose heads together are as wide as what comes in."""
    shape, _ = own.get("in_proj_weight", (tuple(layer.in_proj_weight.shape), ()))
    width = shape[1]
    return {"embed_dim": width, "kdim": width, "vdim": width, "head_dim": width // layer.num_heads}


def _recurrent(layer: Any, own: Own) -> Sizes:
    state = own.get("weight_hh_l0", (tuple(layer.weight_hh_l0.shape), ()))[0]
    given = own.get("weight_ih_l0", (tuple(layer.weight_ih_l0.shape), ()))[0]
    return {"hidden_size": state[1], "input_size": given[1]}


RULES: dict[type[nn.Module], Callable[[Any, Own], Sizes]] = {
    _ConvNd: _conv,
    nn.Linear: _linear,
    _NormBase: _batch_norm,
    nn.LayerNorm: _layer_norm,
    nn.RMSNorm: _layer_norm,
    nn.GroupNorm: _group_norm,
    nn.Embedding: _embedding,
    nn.PReLU: _prelu,
    nn.RNNBase: _recurrent,
    nn.MultiheadAttention: _attention,
}
