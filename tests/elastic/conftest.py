"""One small elastic network with everything in it, for the tests of this room."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nasplat.elastic import (
    ElasticBatchNorm2d,
    ElasticConv2d,
    ElasticDepth,
    ElasticLinear,
    ElasticSpace,
    Scaled,
    Size,
)
from nasplat.space import Arch, ordinal


class Block(nn.Module):
    """Depthwise convolution of elastic kernel, then an expansion of elastic width; keeps the shape."""

    def __init__(self, width: Size, block: int) -> None:
        super().__init__()
        hidden = Scaled(width, 2.0, "expand")
        self.depthwise = ElasticConv2d(width, width, Size(5, f"kernel{block}"), groups=width, bias=True)
        self.norm = ElasticBatchNorm2d(width)
        self.widen = ElasticConv2d(width, hidden, 1)
        self.narrow = ElasticConv2d(hidden, width, 1)
        self.act = nn.ReLU()

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        y = self.act(self.norm(self.depthwise(x, arch), arch))
        return x + self.narrow(self.act(self.widen(y, arch)), arch)


class Net(nn.Module):
    """Stem, an elastic number of blocks with one norm shared after each of two places, dropout, head."""

    def __init__(self) -> None:
        super().__init__()
        width = Size(12, "width")
        self.stem = ElasticConv2d(3, width, 3, stride=2)
        self.shared = ElasticBatchNorm2d(width)
        self.blocks = ElasticDepth([Block(width, 1), Block(width, 2)], Size(2, "depth"))
        self.drop = nn.Dropout(0.3)
        self.head = ElasticLinear(width, 5)

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        x = self.shared(self.stem(x, arch), arch)
        x = self.shared(self.blocks(x, arch), arch)
        return self.head(self.drop(x.mean((2, 3))), arch)


CHOICES = (
    ordinal("depth", (0, 1, 2)),
    ordinal("width", (4, 7, 12)),
    ordinal("expand", (0.5, 1.0, 2.0)),
    ordinal("kernel1", (1, 3, 5), when={"depth": (1, 2)}),
    ordinal("kernel2", (1, 3, 5), when={"depth": (2,)}),
)


@pytest.fixture(scope="session")
def space() -> ElasticSpace:
    return ElasticSpace("tiny", CHOICES, network=Net, input_shape=(3, 9, 9))


@pytest.fixture(scope="session")
def net(space: ElasticSpace) -> nn.Module:
    """A supernet in eval mode, its running statistics and norm weights drawn at random."""
    net = space.supernet(seed=1).eval()
    generator = torch.Generator().manual_seed(2)
    for name, tensor in net.state_dict().items():
        if "running" in name or "norm" in name or "shared" in name:
            tensor.uniform_(0.5, 1.5, generator=generator)
    return net
