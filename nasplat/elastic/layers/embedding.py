"""What turns inputs into sequences (n, tokens, width): tokens, positions and patches of images, of elastic width."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.elastic.layers.base import fill
from nasplat.elastic.layers.linear import ElasticConv2d
from nasplat.elastic.sizes import Dimension, Size, dimension
from nasplat.elastic.weights.soft import AnyArch, mask_channels
from nasplat.elastic.weights.sources import Slot, SourceFactory, sliced
from nasplat.errors import NasplatError
from nasplat.space import Arch


class ElasticTable(nn.Module):
    """A table of numbers (rows, width) that is no layer's: called as table(arch), it gives the columns in use.

    For embeddings, learned positions and class tokens. It starts normal, with deviation `std`. Under `Masks` it is
    whole, as weights are: who uses it masks what comes out.
    """

    def __init__(
        self, rows: int, width: int | Dimension, *, std: float = 0.02, source: SourceFactory = sliced
    ) -> None:
        super().__init__()
        self.width, self.std = dimension(width), std
        self.source = source(Slot({"weight": (Size(rows), self.width)}, partial(_start_normal, std=std)))

    def forward(self, arch: AnyArch) -> Tensor:
        weight: Tensor = self.source(arch)[0]
        return weight

    def plain(self, arch: Arch) -> Table:
        """The same table of one architecture, with copied values."""
        weight = self.source(arch)[0]
        return fill(Table(len(weight), weight.shape[1], self.std, device="meta"), weight=weight)


class Table(nn.Module):
    """A table of numbers (rows, width), called without an input; it starts normal, with deviation `std`."""

    weight: nn.Parameter

    def __init__(
        self, rows: int, width: int, std: float = 0.02, device: torch.device | str | None = None
    ) -> None:
        super().__init__()
        self.std = std
        self.weight = nn.Parameter(torch.empty(rows, width, device=device))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the values anew."""
        _start_normal({"weight": self.weight}, self.std)

    def forward(self) -> Tensor:
        return self.weight


class ElasticEmbedding(nn.Module):
    """A learned vector for each token; vectors start normal, with deviation `std`.

    Shapes: tokens (n, t) int64, below the number of tokens -> (n, t, width).
    """

    def __init__(
        self, tokens: int, width: int | Dimension, *, std: float = 1.0, source: SourceFactory = sliced
    ) -> None:
        super().__init__()
        self.table = ElasticTable(tokens, width, std=std, source=source)

    def forward(self, tokens: Tensor, arch: AnyArch) -> Tensor:
        return mask_channels(F.embedding(tokens, self.table(arch)), self.table.width, arch, axis=-1)

    def logits(self, x: Tensor, arch: AnyArch) -> Tensor:
        """The products of x (n, t, width) with all vectors, (n, t, tokens): a tied output layer (arXiv:1608.05859).

        A deviation of 1 / sqrt(width) gives logits that start near 1.
        """
        return F.linear(x, self.table(arch))


class ElasticPositions(nn.Module):
    """Adds to each token a learned vector of its position; vectors start normal, with deviation `std`.

    Shapes: x (n, t, width), t up to `length` -> (n, t, width). NasplatError for more tokens, but in an extracted
    network, which is torch's alone.
    """

    def __init__(
        self, length: int, width: int | Dimension, *, std: float = 0.02, source: SourceFactory = sliced
    ) -> None:
        super().__init__()
        self.length = length
        self.table = ElasticTable(length, width, std=std, source=source)

    def forward(self, x: Tensor, arch: AnyArch) -> Tensor:
        if isinstance(x, Tensor) and x.shape[1] > self.length:  # a proxy of torch.fx has no number of tokens
            raise NasplatError(
                f"{x.shape[1]} tokens, but the network has positions for {self.length}: give at most"
                f" {self.length}, or make its space for longer inputs"
            )
        return mask_channels(x + self.table(arch)[: x.shape[1]], self.table.width, arch, axis=-1)


class ElasticClassToken(nn.Module):
    """Puts a learned token before all others (ViT, arXiv:2010.11929). Shapes: x (n, t, width) -> (n, t + 1, width)."""

    def __init__(self, width: int | Dimension, *, source: SourceFactory = sliced) -> None:
        super().__init__()
        self.table = ElasticTable(1, width, source=source)

    def forward(self, x: Tensor, arch: AnyArch) -> Tensor:
        token = self.table(arch).expand(x.shape[0], 1, -1)
        return torch.cat([mask_channels(token, self.table.width, arch, axis=-1), x], 1)


class ElasticPatches(nn.Module):
    """Each patch of an image as a token: a convolution whose stride is its kernel (ViT, arXiv:2010.11929).

    Shapes: x (n, channels, h, w), h and w multiples of `patch` -> (n, h w / patch^2, width).
    """

    def __init__(
        self, channels: int, width: int | Dimension, patch: int, *, source: SourceFactory = sliced
    ) -> None:
        super().__init__()
        self.conv = ElasticConv2d(channels, width, patch, stride=patch, padding=0, bias=True, source=source)

    def forward(self, x: Tensor, arch: AnyArch) -> Tensor:
        y: Tensor = self.conv(x, arch).flatten(2)
        return y.transpose(1, 2)


def _start_normal(tensors: Mapping[str, Tensor], std: float) -> None:
    nn.init.normal_(tensors["weight"], std=std)
