"""Small networks with statistics that are not those of a fresh norm."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RepVggBlock(nn.Module):
    """3x3 and 1x1 convolutions and, where shapes allow it, the identity, a norm behind each (arXiv:2101.03697)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        options = {"stride": stride, "groups": groups, "bias": False}
        self.wide = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1, **options), nn.BatchNorm2d(outputs)
        )
        self.narrow = nn.Sequential(nn.Conv2d(inputs, outputs, 1, **options), nn.BatchNorm2d(outputs))
        self.skip = nn.BatchNorm2d(inputs) if inputs == outputs and stride == 1 else None

    def forward(self, x: Tensor) -> Tensor:
        total = self.wide(x) + self.narrow(x)
        return torch.relu(total if self.skip is None else total + self.skip(x))


def lived_in(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module in evaluation mode, its norms with random scales, shifts and statistics."""
    source = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            with torch.no_grad():
                for tensor in (part.weight, part.running_var):
                    if tensor is not None:
                        tensor.copy_(torch.rand(tensor.shape, generator=source) + 0.5)
                for tensor in (part.bias, part.running_mean):
                    if tensor is not None:
                        tensor.copy_(torch.randn(tensor.shape, generator=source))
    return module.eval()
