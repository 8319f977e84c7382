"""What turns inputs into sequences (n, tokens, width): tokens, positions and patches of images, of elastic width."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.elastic.layers import ElasticConv2d, fill
from nasplat.elastic.sizes import Dimension, Size, dimension
from nasplat.elastic.sources import Slot, SourceFactory, sliced
from nasplat.space import Arch


class ElasticTable(nn.Module):
    """A table of numbers (rows, width) that is no layer's: called as table(arch), it gives the columns in use.

    For embeddings, learned positions and class tokens. Starts normal, deviation 0.02.
    """

    def __init__(self, rows: int, width: int | Dimension, *, source: SourceFactory = sliced) -> None:
        super().__init__()
        self.width = dimension(width)
        self.source = source(Slot({"weight": (Size(rows), self.width)}, partial(_start_normal, std=0.02)))

    def forward(self, arch: Arch) -> Tensor:
        weight: Tensor = self.source(arch)[0]
        return weight

    def plain(self, arch: Arch) -> Table:
        """The same table of one architecture, with copied values."""
        weight = self.source(arch)[0]
        return fill(Table(len(weight), weight.shape[1], device="meta"), weight=weight)


class Table(nn.Module):
    """A table of numbers (rows, width), called without an input; it starts normal, with deviation 0.02."""

    weight: nn.Parameter

    def __init__(self, rows: int, width: int, device: torch.device | str | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, width, device=device))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the values anew."""
        _start_normal({"weight": self.weight}, 0.02)

    def forward(self) -> Tensor:
        return self.weight


class ElasticEmbedding(nn.Module):
    """A learned vector for each token. Shapes: tokens (n, t) int64, below the number of tokens -> (n, t, width)."""

    def __init__(self, tokens: int, width: int | Dimension, *, source: SourceFactory = sliced) -> None:
        super().__init__()
        self.table = ElasticTable(tokens, width, source=source)

    def forward(self, tokens: Tensor, arch: Arch) -> Tensor:
        return F.embedding(tokens, self.table(arch))

    def logits(self, x: Tensor, arch: Arch) -> Tensor:
        """The products of x (n, t, width) with all vectors, (n, t, tokens): a tied output layer (arXiv:1608.05859)."""
        return F.linear(x, self.table(arch))


class ElasticPositions(nn.Module):
    """Adds to each token a learned vector of its position. Shapes: x (n, t, width), t up to `length` -> the same."""

    def __init__(self, length: int, width: int | Dimension, *, source: SourceFactory = sliced) -> None:
        super().__init__()
        self.table = ElasticTable(length, width, source=source)

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        y: Tensor = x + self.table(arch)[: x.shape[1]]
        return y


class ElasticClassToken(nn.Module):
    """Puts a learned token before all others (ViT, arXiv:2010.11929). Shapes: x (n, t, width) -> (n, t + 1, width)."""

    def __init__(self, width: int | Dimension, *, source: SourceFactory = sliced) -> None:
        super().__init__()
        self.table = ElasticTable(1, width, source=source)

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        token = self.table(arch).expand(x.shape[0], 1, -1)
        return torch.cat([token, x], 1)


class ElasticPatches(nn.Module):
    """Each patch of an image as a token: a convolution whose stride is its kernel (ViT, arXiv:2010.11929).

    Shapes: x (n, channels, h, w), h and w multiples of `patch` -> (n, h w / patch^2, width).
    """

    def __init__(
        self, channels: int, width: int | Dimension, patch: int, *, source: SourceFactory = sliced
    ) -> None:
        super().__init__()
        self.conv = ElasticConv2d(channels, width, patch, stride=patch, padding=0, bias=True, source=source)

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        y: Tensor = self.conv(x, arch).flatten(2)
        return y.transpose(1, 2)


def _start_normal(tensors: Mapping[str, Tensor], std: float) -> None:
    nn.init.normal_(tensors["weight"], std=std)
