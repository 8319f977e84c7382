"""Ten tiny modules on which tools for pruning fail, or fail without a word."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .attention import FusedAttention


class HardReshape(nn.Module):
    """A linear layer behind a reshape to a number."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.Linear(256, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.relu(self.conv(x)).reshape(-1, 256))


class FusedThree(nn.Module):
    """A fused projection cut in three, each reshaped to heads on its own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.qkv, self.out, self.head = (
            nn.Linear(4, 8),
            nn.Linear(8, 24),
            nn.Linear(8, 8),
            nn.Linear(8, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q, k, v = (t.reshape(b, n, 4, 2).transpose(1, 2) for t in self.qkv(self.stem(x)).chunk(3, dim=-1))
        y = torch.softmax(q @ k.transpose(-1, -2), -1) @ v
        return self.head(self.out(y.transpose(1, 2).reshape(b, n, 8)))


class FusedUnbound(nn.Module):
    """A fused projection reshaped to (three, heads, size), then unbound."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.attention, self.head = nn.Linear(4, 8), FusedAttention(8, 4), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.attention(self.stem(x)))


class Multihead(nn.Module):
    """torch's attention, inner channels of which are not those of the stream."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(4, 8), nn.Linear(8, 3)
        self.attention = nn.MultiheadAttention(8, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head(x + self.attention(x, x, x)[0])


class DepthwiseThenGrouped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.depthwise = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8)
        self.grouped, self.head = nn.Conv2d(8, 12, 1, groups=4), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.grouped(torch.relu(self.depthwise(self.stem(x)))).mean((2, 3)))


class SelfConcat(nn.Module):
    """A tensor beside itself: two columns for every channel."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.mix, self.head = nn.Conv2d(3, 6, 3), nn.Conv2d(12, 7, 1), nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head(torch.relu(self.mix(torch.cat([x, x], 1))).mean((2, 3)))


class LayerScale(nn.Module):
    """A bare parameter for each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body, self.head = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3, padding=1), nn.Linear(6, 3)
        self.gamma = nn.Parameter(torch.full((6, 1, 1), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head((x + self.gamma * torch.relu(self.body(x))).mean((2, 3)))


class CalledTwice(nn.Module):
    """One convolution and one norm in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body, self.head = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3, padding=1), nn.Linear(6, 3)
        self.norm = nn.BatchNorm2d(6)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        for _ in range(2):
            x = torch.relu(self.norm(self.body(x)))
        return self.head(x.mean((2, 3)))


class OnlyInTraining(nn.Module):
    """A second head that a trace in eval mode does not see, and that reads the same channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 3)
        self.aux, self.head = nn.Conv2d(8, 3, 1), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = torch.relu(self.stem(x))
        logits = self.head(torch.relu(self.body(x)).mean((2, 3)))
        if self.training:
            return logits, self.aux(x).mean((2, 3))
        return logits


class Mixture(nn.Module):
    """A node of a supernet: a weighted sum of two operations and of what came in."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 3)
        self.p, self.q = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 1)
        self.alpha = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        x, w = torch.relu(self.stem(x)), torch.softmax(self.alpha, 0)
        return self.head((w[0] * self.p(x) + w[1] * self.q(x) + w[2] * x).mean((2, 3)))
