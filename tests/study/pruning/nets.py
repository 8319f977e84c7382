"""Networks and data of a size for tests; copied beside what a test writes, and named from there as file.py:NAME."""

import torch
from torch import Tensor, nn


class Small(nn.Module):
    """Two convolutions with norms, a head behind a hidden layer; the flattened size follows the batch alone."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 12, 3, padding=1)
        self.hidden = nn.Linear(12 * 4, 10)
        self.head = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = nn.functional.max_pool2d(torch.relu(self.conv2(x)), 3)
        logits: Tensor = self.head(torch.relu(self.hidden(x.flatten(1))))
        return logits


class Baked(Small):
    """The same, with the flattened size as a plain number."""

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = nn.functional.max_pool2d(torch.relu(self.conv2(x)), 3)
        logits: Tensor = self.head(torch.relu(self.hidden(x.reshape(-1, 48))))
        return logits


class Branching(Small):
    """One that decides by the values that come in."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if x.sum() > 0 else super().forward(-x)


def small() -> nn.Module:
    return Small()


def stripes(seed: int = 0) -> dict[str, tuple[Tensor, Tensor]]:
    """Images (n, 1, 6, 6) of three kinds: a bright third of the rows, among noise."""
    drawn = torch.Generator().manual_seed(seed)
    found = {}
    for split, n in (("train", 96), ("validation", 48), ("test", 30)):
        targets = torch.arange(n) % 3
        images = 0.3 * torch.randn(n, 1, 6, 6, generator=drawn)
        for kind in range(3):
            images[targets == kind, :, 2 * kind : 2 * kind + 2] += 1
        found[split] = (images, targets)
    return found
