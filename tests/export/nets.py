"""Small networks with what real ones have: norms that have seen data, shortcuts, functions and methods."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """A residual block; the shortcut is an identity where it can be."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, (3, 5), padding=(1, 2), bias=False)
        self.norm2 = nn.BatchNorm2d(out, eps=1e-3, momentum=None)
        self.relu = nn.ReLU(inplace=True)
        same = channels == out and stride == 1
        project = nn.Sequential(nn.Conv2d(channels, out, 1, stride=stride, bias=False), nn.BatchNorm2d(out))
        self.shortcut: nn.Module = nn.Identity() if same else project

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class Residual(nn.Module):
    """Images (n, 1, 8, 8) -> logits (n, 5)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 4, 3, padding="same"), nn.GroupNorm(2, 4), nn.Hardswish())
        self.stages = nn.ModuleList(
            [nn.Sequential(Block(4, 4, 1)), nn.Sequential(Block(4, 8, 2), Block(8, 8, 1))]
        )
        self.pool = nn.AdaptiveAvgPool2d((1, 1))
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return self.head(self.dropout(torch.flatten(self.pool(x), 1)))


class Functional(nn.Module):
    """Images (n, 1, 8, 8) -> logits (n, 5), written with functions, methods, operators and bare tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(3) + 0.5)
        self.register_buffer("shift", torch.arange(4))
        self.conv = nn.Conv2d(2, 4, 3, stride=2, padding=1)
        self.linear = nn.Linear(4, 5, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = F.max_pool2d(x, 2, stride=1, padding=1)[:, :, 1:, 1:]
        x = torch.cat([x, F.relu(y) * self.scale[1]], dim=1)
        y = F.gelu(self.conv(x), approximate="tanh")
        z = y.view(y.size(0), 4, -1).softmax(dim=-1).sum(2) - self.shift / 10
        y = y.mean((2, 3)) + -(z.clamp(max=0.5) ** 2)
        y = y.unsqueeze(-1).expand(x.shape[0], 4, 3).transpose(1, 2).contiguous().mean(1)
        return F.linear(y, self.linear.weight) / (2 - y[:, :1].sigmoid())


def perceptron() -> nn.Module:
    """Vectors (n, 6) -> logits (n, 3)."""
    return nn.Sequential(nn.Linear(6, 16), nn.LayerNorm(16), nn.GELU(), nn.Linear(16, 3))


def with_statistics(module: nn.Module, inputs: Tensor) -> nn.Module:
    """The module after its norms have seen some inputs, in evaluation mode."""
    module.train()
    for _ in range(3):
        module(inputs + 0.5)
    return module.eval()
