"""The layers that scores sum over."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

Weighted = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear


def weighted_layers(model: nn.Module) -> dict[str, Weighted]:
    """Convolutions and linear layers by name, in `modules()` order, the classifier included.

    Scores sum over their weights only; biases and norms never count ("Zero-Cost Proxies for Lightweight NAS",
    arXiv:2101.08134, as coded).
    """
    return {name: module for name, module in model.named_modules() if isinstance(module, Weighted)}


def total(parts: Mapping[str, Tensor]) -> tuple[float, dict[str, float]]:
    """The sum of scalars, one of each layer, and the scalars; they cross to the CPU together."""
    if not parts:
        return 0.0, {}
    numbers = torch.stack(list(parts.values())).detach().double().tolist()
    return sum(numbers), dict(zip(parts, numbers, strict=True))
