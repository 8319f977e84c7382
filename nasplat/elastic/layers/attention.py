"""Self-attention with an elastic number of heads.

Sequences are (n, tokens, width). Heads have a fixed size and are used or left out as a whole (AutoFormer,
arXiv:2107.00651): the width inside attention follows the number of heads, not the width of the sequence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import nullcontext

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from nasplat.elastic.layers.base import fill
from nasplat.elastic.sizes import Dimension, Size, dimension
from nasplat.elastic.weights.soft import AnyArch, Masks, mask_channels
from nasplat.elastic.weights.sources import Slot, SourceFactory, sliced
from nasplat.space import Arch


class ElasticQueryKeyValue(nn.Module):
    """One linear layer for queries, keys and values of the heads in use.

    The rows of its plain form are (3, heads, head_dim), as in most code. They are stored (heads, width, 3, head_dim):
    so whole heads are sliced, and never a part of the queries with a part of the keys.
    Shapes: x (n, t, width) -> (n, t, 3 heads head_dim).
    """

    def __init__(
        self, width: int | Dimension, heads: Dimension, head_dim: int, *, source: SourceFactory = sliced
    ) -> None:
        super().__init__()
        inner = (Size(3), Size(head_dim))
        tensors = {"weight": (heads, dimension(width), *inner), "bias": (heads, *inner)}
        self.source = source(Slot(tensors, _start_inwards))

    def forward(self, x: Tensor, arch: AnyArch) -> Tensor:
        return F.linear(x, *self._rows(arch))

    def plain(self, arch: Arch) -> nn.Linear:
        """The ordinary linear layer of one architecture, with copied weights."""
        weight, bias = self._rows(arch)
        return fill(nn.Linear(weight.shape[1], len(weight), device="meta"), weight=weight, bias=bias)

    def _rows(self, arch: AnyArch) -> tuple[Tensor, Tensor]:
        tensors = self.source.tensors(arch)
        weight = tensors["weight"].permute(2, 0, 3, 1)
        return weight.flatten(0, 2), tensors["bias"].transpose(0, 1).flatten()


class ElasticHeadProjection(nn.Module):
    """The linear layer after attention, from the heads in use. Shapes: x (n, t, heads head_dim) -> (n, t, width)."""

    def __init__(
        self, heads: Dimension, head_dim: int, width: int | Dimension, *, source: SourceFactory = sliced
    ) -> None:
        super().__init__()
        self.width = dimension(width)
        tensors = {"weight": (self.width, heads, Size(head_dim)), "bias": (self.width,)}
        self.source = source(Slot(tensors, _start_outwards))

    def forward(self, x: Tensor, arch: AnyArch) -> Tensor:
        weight, bias = self.source(arch)
        return mask_channels(F.linear(x, weight.flatten(1), bias), self.width, arch, axis=-1)

    def plain(self, arch: Arch) -> nn.Linear:
        """The ordinary linear layer of one architecture, with copied weights."""
        weight, bias = self.source(arch)
        weight = weight.flatten(1)
        return fill(nn.Linear(weight.shape[1], len(weight), device="meta"), weight=weight, bias=bias)


class ElasticAttention(nn.Module):
    """Multi-head self-attention (arXiv:1706.03762, equation 1) with an elastic number of heads.

    causal: each token sees itself and the tokens before it. Shapes: x (n, t, width) -> (n, t, width).
    """

    def __init__(
        self,
        width: int | Dimension,
        heads: int | Dimension,
        head_dim: int,
        *,
        causal: bool = False,
        source: SourceFactory = sliced,
    ) -> None:
        super().__init__()
        self.heads, self.head_dim, self.causal = dimension(heads), head_dim, causal
        self.qkv = ElasticQueryKeyValue(width, self.heads, head_dim, source=source)
        self.projection = ElasticHeadProjection(self.heads, head_dim, width, source=source)

    def forward(self, x: Tensor, arch: AnyArch) -> Tensor:
        x = self.qkv(x, arch).unflatten(-1, (3, -1, self.head_dim)).permute(2, 0, 3, 1, 4)
        plain = isinstance(arch, Masks) and not x.is_cuda  # on a CPU, vmap knows no fused kernel
        with sdpa_kernel(SDPBackend.MATH) if plain else nullcontext():
            x = F.scaled_dot_product_attention(x[0], x[1], x[2], is_causal=self.causal)
        x = mask_channels(x, self.heads, arch)  # (n, heads, t, head_dim)
        y: Tensor = self.projection(x.transpose(1, 2).flatten(2), arch)
        return y


def _start_inwards(tensors: Mapping[str, Tensor]) -> None:
    _start_as_linear(tensors, tensors["weight"].shape[1])


def _start_outwards(tensors: Mapping[str, Tensor]) -> None:
    _start_as_linear(tensors, tensors["weight"][0].numel())


def _start_as_linear(tensors: Mapping[str, Tensor], inputs: int) -> None:
    """The initial values of nn.Linear with so many inputs."""
    for tensor in tensors.values():
        nn.init.uniform_(tensor, -1 / math.sqrt(inputs), 1 / math.sqrt(inputs))
