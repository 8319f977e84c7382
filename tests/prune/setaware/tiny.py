"""Tiny networks, data, and lessons drawn from them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.prune.meta.data_models import DataModel, data_model
from nasplat.prune.meta.objective import Losses, cross_entropies
from nasplat.prune.setaware import Body, Fitting, Lesson, Walks, draw_masks

EXAMPLE = torch.zeros(2, 1, 6, 6)
BODY = Body(width=8, layers=2)
WALKS = Walks(walks=2, steps=3, candidates=6, least=0.4)
FITTING = Fitting(epochs=3, batch=2, rate=1e-2)


class Residual(nn.Module):
    """A residual block of grouped and plain convolutions: (n, width, h, w) -> the same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = (
            nn.Conv2d(width, 2 * width, 3, padding=1, bias=False),
            nn.BatchNorm2d(2 * width),
        )
        self.depth = nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2 * width)
        self.conv2, self.bn2 = nn.Conv2d(2 * width, width, 1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.depth(torch.relu(self.bn1(self.conv1(x))))
        return torch.relu(x + self.bn2(self.conv2(torch.relu(y))))


def residual(width: int = 4, seed: int = 0) -> nn.Sequential:
    """Images (n, 1, 6, 6) -> (n, 3), in evaluation mode, with norms that are not new."""
    torch.manual_seed(seed)
    stem = [nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
    network = nn.Sequential(
        *stem, Residual(width), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 3)
    )
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
            nn.init.normal_(layer.running_mean)
    return network.eval()


def images(n: int = 32) -> tuple[Tensor, Tensor]:
    """Images (n, 1, 6, 6) and labels (n,)."""
    draw = torch.Generator().manual_seed(1)
    return torch.randn(n, 1, 6, 6, generator=draw), torch.randint(0, 3, (n,), generator=draw)


def losses() -> Losses:
    """Cross entropies over all images at once."""
    return cross_entropies(*images(), batch=32)


def loss(module: nn.Module) -> Iterable[Tensor]:
    """The same, of no seed."""
    return losses()(module, 0)


def mean_loss(module: nn.Module) -> float:
    """What `losses` give, by another route."""
    inputs, labels = images()
    with torch.no_grad():
        return float(F.cross_entropy(module(inputs), labels))


def model(width: int = 4, seed: int = 0) -> DataModel:
    """`residual`, traced."""
    return data_model(residual(width, seed), EXAMPLE)


@cache
def lessons() -> tuple[Lesson, ...]:
    """Of three networks."""
    models = [model(width, seed) for seed, width in enumerate((4, 6, 5))]
    return tuple(Lesson.of(one, draw_masks(one, losses(), WALKS, 0)) for one in models)
