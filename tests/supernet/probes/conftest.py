"""A small supernet with norms and dropout, in the middle of a training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nasplat.data import Dataset, Split, batches
from nasplat.elastic import ElasticBatchNorm2d, ElasticConv2d, ElasticLinear, ElasticSpace, Size
from nasplat.space import Arch, ordinal
from nasplat.supernet.probes import Look


class Net(nn.Module):
    """x (n, 1, 6, 6) -> (n, 3)."""

    def __init__(self) -> None:
        super().__init__()
        width = Size(8, "width1")
        self.conv1, self.norm1 = ElasticConv2d(1, width, Size(3, "kernel1")), ElasticBatchNorm2d(width)
        self.conv2, self.norm2 = ElasticConv2d(width, 6, 3), ElasticBatchNorm2d(6)
        self.relu, self.dropout, self.pool = nn.ReLU(), nn.Dropout(0.3), nn.AdaptiveAvgPool2d(1)
        self.flatten, self.head = nn.Flatten(), ElasticLinear(6, 3)

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        x = self.relu(self.norm1(self.conv1(x, arch), arch))
        x = self.relu(self.norm2(self.conv2(x, arch), arch))
        out: Tensor = self.head(self.dropout(self.flatten(self.pool(x))), arch)
        return out


@pytest.fixture
def space() -> ElasticSpace:
    choices = [ordinal("width1", [4, 6, 8]), ordinal("kernel1", [1, 3])]
    return ElasticSpace("net", choices, network=Net, input_shape=(1, 6, 6))


@pytest.fixture
def data() -> Dataset:
    """Three classes by the brightness of the image."""
    rng = torch.Generator().manual_seed(3)
    targets = torch.randint(0, 3, (120,), generator=rng)
    inputs = torch.randn(120, 1, 6, 6, generator=rng) + targets[:, None, None, None]
    parts = [Split(inputs[a : a + 40], targets[a : a + 40]) for a in (0, 40, 80)]
    return Dataset("brightness", *parts, classes=3)


@pytest.fixture
def make_look(space: ElasticSpace, data: Dataset) -> Callable[..., Look]:
    """A look at a fresh supernet that has seen a batch, at its smallest architecture; fields can be given."""

    def make(**fields: Any) -> Look:
        net = space.supernet(seed=1).train()
        net(data.train.inputs, space.smallest())
        calibration = [inputs for inputs, _ in batches(data.train, 20)]
        return Look(
            **{"net": net, "space": space, "data": data, "epoch": 1, "calibration": calibration} | fields
        )

    return make
