"""What a pruned network must compute, by a second route: the whole network with the channels that go at zero.

Nothing here cuts a tensor. Norms over channels take their statistics over those that stay, and attention divides by
the root of the width that stays; with these two, a masked network computes what the smaller one does, to rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


def outputs(network: nn.Module, example: Sequence[Tensor]) -> Tensor:
    """Of a network as it is."""
    with torch.no_grad():
        found: Tensor = network(*example)
    return found


def masked_outputs(network: nn.Module, example: Sequence[Tensor]) -> Tensor:
    """Of a network in which the weights of some channels are zero, and no others."""
    with OverKept():  # with gradients: without, torch's attention is one kernel that no mode sees into
        found: Tensor = network(*example)
    return found.detach()


class OverKept(TorchFunctionMode):
    """Norms and attention over the channels that stay. A channel is gone where the scale of its norm is zero."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return RULES.get(func, func)(*args, **(kwargs or {}))


def _layer_norm(
    x: Tensor, shape: Any, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    assert weight is not None
    stay, axes = (weight != 0).to(x), tuple(range(-len(shape), 0))
    mean = (x * stay).sum(axes, keepdim=True) / stay.sum()
    variance = ((x - mean) ** 2 * stay).sum(axes, keepdim=True) / stay.sum()
    scaled = (x - mean) / (variance + eps).sqrt() * weight
    return scaled if bias is None else scaled + bias


def _rms_norm(x: Tensor, shape: Any, weight: Tensor | None = None, eps: float | None = None) -> Tensor:
    assert weight is not None
    power = (x * x * (weight != 0)).sum(-1, keepdim=True) / (weight != 0).sum()
    return x / (power + (torch.finfo(x.dtype).eps if eps is None else eps)).sqrt() * weight


def _group_norm(
    x: Tensor, groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    assert weight is not None
    assert bias is not None
    parts = zip(x.chunk(groups, 1), weight.chunk(groups), bias.chunk(groups), strict=True)
    return torch.cat([_over_kept(*part, eps) for part in parts], 1)


def _over_kept(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """One group of channels (n, c, ...); zero where none of them stays."""
    own = x[:, weight != 0].flatten(1)
    if own.shape[1] == 0:
        return torch.zeros_like(x)
    mean, variance = (
        one.reshape(-1, *(1,) * (x.ndim - 1)) for one in (own.mean(1), own.var(1, correction=0))
    )
    scale, shift = (one.reshape(-1, *(1,) * (x.ndim - 2)) for one in (weight, bias))
    return (x - mean) / (variance + eps).sqrt() * scale + shift


def _attention(query: Tensor, key: Tensor, value: Tensor, *args: Any, **given: Any) -> Tensor:
    stay = (query != 0).any(-2).sum(-1).max()  # of a head that is there
    given["scale"] = float(stay) ** -0.5 if given.get("scale") is None else given["scale"]
    return F.scaled_dot_product_attention(query, key, value, *args, **given)


def _multihead(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    width: int,
    heads: int,
    weight: Tensor,
    bias: Tensor,
    *rest: Any,
    **_: Any,
) -> tuple[Tensor, None]:
    """torch's attention of a stream to itself, without masks: (t, n, width)."""
    out_weight, out_bias = rest[4:6]
    length, batch, _ = query.shape
    q, k, v = (
        F.linear(x, part, shift).reshape(length, batch, heads, -1).permute(1, 2, 0, 3)
        for x, part, shift in zip((query, key, value), weight.chunk(3), bias.chunk(3), strict=True)
    )
    y = _attention(q, k, v)
    return F.linear(y.permute(2, 0, 1, 3).reshape(length, batch, -1), out_weight, out_bias), None


RULES = {
    F.multi_head_attention_forward: _multihead,
    F.layer_norm: _layer_norm,
    F.rms_norm: _rms_norm,
    F.group_norm: _group_norm,
    F.scaled_dot_product_attention: _attention,
}
