"""Layers as products of two thinner ones: weights cropped by rank."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, cast

import torch
from torch import Tensor, nn

from nasplat.compress.tracing import Rewritten
from nasplat.errors import NasplatError
from nasplat.measure.attention import leave_fast_path

FACTORED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def factorise(
    module: nn.Module,
    *,
    rank: int | Mapping[str, int] | None = None,
    energy: float | None = None,
    names: Sequence[str] = ("*",),
) -> Rewritten:
    """A copy in which linear layers and convolutions are two thinner ones each, by truncated singular values.

    A linear weight (o, i) becomes (r, i) and (o, r); a convolution (o, i, *k) becomes r filters of the same form and a
    1x1 convolution of them (section 3.1 of arXiv:1505.06798). Exactly one of rank (one for all, or
    by name of a layer) and energy (0 to 1: the least rank that keeps this share of the sum of squared singular
    values). The nearest of that rank in the Frobenius norm. names: patterns of layers to look at. left: layers whose
    factors would not be smaller than they are, grouped convolutions, and shared weights. NasplatError for a rank or an
    energy that cannot be, and for names that no layer has.
    """
    _check(rank, energy)
    own = copy.deepcopy(module).eval()
    leave_fast_path(own)
    layers = {name: layer for name, layer in own.named_modules() if type(layer) in FACTORED}
    chosen = {n: layer for n, layer in layers.items() if any(fnmatchcase(n, one) for one in names)}
    unknown = set(rank) - set(layers) if isinstance(rank, Mapping) else set()
    if unknown or not chosen:
        wanted = ", ".join(sorted(unknown)) or ", ".join(names)
        raise NasplatError(
            f"no linear layer or convolution is named {wanted}; known: {', '.join(layers) or 'none'}"
        )
    changed, left = [], {}
    for name, layer in chosen.items():
        asked = rank.get(name) if isinstance(rank, Mapping) else rank
        if isinstance(rank, Mapping) and asked is None:
            continue
        pair = _pair(layer, asked, energy) if not shared(own, name) else "its weight is shared"
        if isinstance(pair, str):
            left[name] = pair
            continue
        changed.append(name)
        if not name:
            return Rewritten(pair, tuple(changed), left)
        own.set_submodule(name, pair)
    return Rewritten(own, tuple(changed), left)


def rank_of(singular: Tensor, energy: float) -> int:
    """The least rank that keeps a share of the sum of squares of singular values in falling order; at least 1."""
    shares = singular.double().square().cumsum(0)
    return int((shares < energy * shares[-1] * (1 - 1e-12)).sum()) + 1


def _check(rank: int | Mapping[str, int] | None, energy: float | None) -> None:
    if (rank is None) == (energy is None):
        raise NasplatError("give exactly one of rank and energy")
    ranks = list(rank.values()) if isinstance(rank, Mapping) else [] if rank is None else [rank]
    for one in ranks:
        if isinstance(one, bool) or not isinstance(one, int) or one < 1:
            raise NasplatError(f"rank = {one} cannot be; give a whole number from 1 up")
    if energy is not None and not 0 < energy <= 1:
        raise NasplatError(f"energy = {energy} is no share; give a number above 0 and up to 1")


def shared(module: nn.Module, name: str) -> bool:
    """Whether the weight of a layer has another name, too."""
    weight = module.get_submodule(name).weight
    return sum(one is weight for _, one in module.named_parameters(remove_duplicate=False)) > 1


def _pair(layer: nn.Module, rank: int | None, energy: float | None) -> nn.Sequential | str:
    """The two factors, or why there are none."""
    if getattr(layer, "groups", 1) > 1:
        return "its channels are in groups"
    weight = cast(Tensor, layer.weight).detach()
    matrix = weight.double().flatten(1)
    left, singular, right = torch.linalg.svd(matrix, full_matrices=False)
    chosen = rank_of(singular, cast(float, energy)) if rank is None else min(rank, len(singular))
    outputs, inputs = matrix.shape
    if chosen * (outputs + inputs) >= outputs * inputs:
        return f"at rank {chosen} two factors are no smaller than {outputs} x {inputs}"
    root = singular[:chosen].sqrt()
    first, second = root[:, None] * right[:chosen], left[:, :chosen] * root
    narrow, wide = _layers(layer, chosen)
    with torch.no_grad():
        cast(Tensor, narrow.weight).copy_(first.reshape(narrow.weight.shape))
        cast(Tensor, wide.weight).copy_(second.reshape(wide.weight.shape))
        if isinstance(layer.bias, Tensor):
            cast(Tensor, wide.bias).copy_(layer.bias)
    return nn.Sequential(narrow, wide).eval()


def _layers(layer: nn.Module, rank: int) -> tuple[nn.Module, nn.Module]:
    """Fresh layers of the two factors."""
    bias = layer.bias is not None
    weight = cast(Tensor, layer.weight)
    place: dict[str, Any] = {"device": weight.device, "dtype": weight.dtype}
    if isinstance(layer, nn.Linear):
        narrow = nn.Linear(layer.in_features, rank, bias=False, device=weight.device, dtype=weight.dtype)
        return narrow, nn.Linear(rank, layer.out_features, bias, device=weight.device, dtype=weight.dtype)
    conv = cast(nn.Conv2d, layer)
    words = ("kernel_size", "stride", "padding", "dilation", "padding_mode")
    kind: type[nn.Conv2d] = type(conv)
    form: dict[str, Any] = {word: getattr(conv, word) for word in words}
    first = kind(conv.in_channels, rank, bias=False, **form, **place)
    return first, kind(rank, conv.out_channels, 1, bias=bias, **place)
