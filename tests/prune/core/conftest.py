"""The networks of `tests/channels/architectures.py`, traced and probed for pruning once each."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from nasplat.prune import Prunable, prunable
from nasplat.prune.masked import Kept

from ...channels.architectures import ALL


@cache
def prepared(name: str) -> Prunable:
    """In double precision, with random numbers in every tensor."""
    return prunable(ALL[name].network(), ALL[name].example())


def random_kept(network: Prunable, seed: int) -> Kept:
    """Channels that stay when every group loses a random number of random units, made without the ranking."""
    random, kept = np.random.default_rng(seed), np.ones(network.channels, dtype=bool)
    for group in network.groups:
        stay = int(random.integers(1, group.size + 1))
        group.remove(kept, [random.permutation(group.size)[:stay].tolist() for _ in group.rows])
    return kept


@pytest.fixture
def convnet() -> nn.Module:
    """Two convolutions and a classifier of (n, 3, 8, 8) images, random numbers in its norms too."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, stride=2, padding=1),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(12 * 16, 5),
    ).eval()
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point() and tensor.ndim == 1:
                tensor.uniform_(0.5, 1.5)
    return network
