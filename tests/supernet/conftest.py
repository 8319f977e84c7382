"""The smallest supernet: a hidden layer of which an architecture uses the first `width` units."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.data import Dataset, Split
from nasplat.space import Arch, Space, ordinal


class Toy(nn.Module):
    """x (n, 4) -> (n, outputs); with dropout when asked."""

    def __init__(self, outputs: int = 3, dropout: float = 0.0) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(4, 8), nn.LayerNorm(4)
        self.dropout, self.last = nn.Dropout(dropout), nn.Linear(8, outputs)

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        width = arch["width"]
        hidden = F.linear(self.norm(x), self.first.weight[:width], self.first.bias[:width]).relu()
        return F.linear(self.dropout(hidden), self.last.weight[:, :width], self.last.bias)


@pytest.fixture
def space() -> Space:
    return Space("toy", [ordinal("width", (2, 4, 6, 8))])


@pytest.fixture
def make_net() -> Callable[..., Toy]:
    def make(seed: int = 0, outputs: int = 3, dropout: float = 0.0) -> Toy:
        torch.manual_seed(seed)
        return Toy(outputs, dropout)

    return make


@pytest.fixture
def data() -> Dataset:
    """24 training examples of three classes that a linear map separates; the augmentation adds noise."""
    rng = torch.Generator().manual_seed(7)
    inputs = torch.randn(40, 4, generator=rng)
    targets = (inputs @ torch.randn(4, 3, generator=rng)).argmax(1)
    parts = [Split(inputs[a:b], targets[a:b]) for a, b in ((0, 24), (24, 32), (32, 40))]

    def noise(x: Tensor, generator: torch.Generator) -> Tensor:
        return x + 0.1 * torch.randn(x.shape, generator=generator)

    return Dataset("toy", *parts, classes=3, augment=noise)
