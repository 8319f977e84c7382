"""What a score of channels may look at, and the form of all scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor, nn

from nasplat.channels import ChannelSpec

Loss: TypeAlias = Callable[[nn.Module], Iterable[Tensor]]
"""Yields a scalar loss for each batch of data, differentiable in the parameters of the module that it is given."""


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """A network and what is known of it: module (in evaluation mode, to be read), inputs, channels, data if any."""

    module: nn.Module
    example: tuple[Tensor, ...]
    spec: ChannelSpec
    loss: Loss | None = None
    seed: int = 0


ChannelScore: TypeAlias = Callable[[Evidence], Tensor]
"""Importance (channels,) in float64 on the CPU, higher = keep: 0 for channels that no tensor carries, infinite for
those of which the score knows nothing, so that they stay."""
