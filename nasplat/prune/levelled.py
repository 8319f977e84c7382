"""Norms that do not mix: what lets a network with fewer channels be compared with the same network masked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class Levelled(TorchFunctionMode):
    """Runs networks as if their norms over channels only scaled and shifted, and attention did not know its width.

    Layer norm, group norm and RMS norm divide by a deviation that the number of channels enters; a mean over an axis
    divides by its length; attention scales by the root of the width of its heads. Under this mode a network of fewer
    channels gives what the masked one gives, if and only if the right ones were removed.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        rule = RULES.get(func)
        return func(*args, **given) if rule is None else rule(*args, **given)


def _layer_norm(
    x: Tensor,
    shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 0.0,
) -> Tensor:
    if tuple(x.shape[-len(shape) :]) != tuple(shape):
        raise ValueError(f"a norm over {tuple(shape)} meets {tuple(x.shape)}")
    return _affine(x, weight, bias)


def _rms_norm(
    x: Tensor, shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    return _layer_norm(x, shape, weight)


def _group_norm(
    x: Tensor, groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 0.0
) -> Tensor:
    if x.shape[1] % groups:
        raise ValueError(f"{groups} groups do not divide {x.shape[1]} channels")
    shape = (-1, *(1,) * (x.ndim - 2))
    return _affine(x, *(None if one is None else one.reshape(shape) for one in (weight, bias)))


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


def _mean(x: Tensor, dim: Any = None, keepdim: bool = False, **rest: Any) -> Tensor:
    return torch.mean(x, **rest) if dim is None else torch.sum(x, dim, keepdim)


def _attention(query: Tensor, key: Tensor, value: Tensor, *args: Any, **given: Any) -> Tensor:
    given.setdefault("scale", 1.0)
    return F.scaled_dot_product_attention(query, key, value, *args, **given)


def _multihead(
    query: Tensor, key: Tensor, value: Tensor, width: int, heads: int, weight: Tensor | None, bias: Tensor | None,
    *args: Any, **given: Any,
) -> Any:  # fmt: skip
    """Queries grow by the root of the width of a head, by which torch divides."""
    root = (width // heads) ** 0.5
    weight, bias = (None if one is None else _larger(one, width, root) for one in (weight, bias))
    if isinstance(given.get("q_proj_weight"), Tensor):
        given["q_proj_weight"] = given["q_proj_weight"] * root
    return F.multi_head_attention_forward(query, key, value, width, heads, weight, bias, *args, **given)


def _larger(fused: Tensor, width: int, root: float) -> Tensor:
    return torch.cat((fused[:width] * root, fused[width:]))


RULES: dict[Any, Callable[..., Any]] = {
    F.layer_norm: _layer_norm,
    torch.layer_norm: _layer_norm,
    F.group_norm: _group_norm,
    F.rms_norm: _rms_norm,
    torch.mean: _mean,
    Tensor.mean: _mean,
    F.scaled_dot_product_attention: _attention,
    F.multi_head_attention_forward: _multihead,
}
