"""Tiny networks and what they learn, for metanetworks that prune."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from nasplat.prune.meta import MetaSettings, MetaTask, cross_entropies

EXAMPLE = torch.zeros(2, 1, 6, 6)
TINY = MetaSettings(width=8, layers=2, epochs=3, rate=1e-2, reach=2.0)


class Residual(nn.Module):
    """A residual block: (n, width, h, w) -> the same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))


def pupil(width: int = 4, seed: int = 0, inner: Sequence[nn.Module] | None = None) -> nn.Sequential:
    """A residual network of that width for images (n, 1, 6, 6) -> (n, 3), in eval mode, with norms that are not new."""
    torch.manual_seed(seed)
    body = [Residual(width)] if inner is None else inner
    stem = [nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
    network = nn.Sequential(*stem, *body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 3))
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias)
            layer.running_var = torch.rand(layer.num_features) + 0.5
            layer.running_mean = torch.randn(layer.num_features)
    return network.eval()


def images(n: int = 40) -> tuple[Tensor, Tensor]:
    """Images (n, 1, 6, 6) and labels (n,)."""
    draw = torch.Generator().manual_seed(1)
    return torch.randn(n, 1, 6, 6, generator=draw), torch.randint(0, 3, (n,), generator=draw)


def norm_of_head(network: nn.Module) -> float:
    """A judge that needs no data: it changes with every epoch."""
    assert isinstance(network, nn.Sequential)
    return float(network[-1].weight.detach().norm())


def task(judge: object = norm_of_head) -> MetaTask:
    """Two data models and one held out."""
    networks = [(pupil(width, seed), EXAMPLE) for seed, width in enumerate((4, 6, 5))]
    losses = cross_entropies(*images(), batch=20, batches=2)
    return MetaTask(networks[:2], networks[2:], losses, judge, "noise", "norm of the head", "make it")  # type: ignore[arg-type]


def content(folder: Path) -> bytes:
    """The weights that a training saved."""
    return (folder / "weights.safetensors").read_bytes()
