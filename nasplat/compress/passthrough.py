"""Layers that let their input pass and add a low-rank change."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nasplat.errors import NasplatError


class LowRankPassthrough(nn.Module):
    """y = x + d x + U V^T x + b: the state passes, a low-rank matrix and a diagonal change it.

    In the spirit of arXiv:1603.03116 (low rank, or low rank plus diagonal, for wide recurrent and residual states):
    2 r width numbers instead of width^2. x (..., width) -> (..., width). diagonal False leaves d out. U starts at zero,
    so that the layer starts as the identity.
    """

    def __init__(self, width: int, rank: int, *, diagonal: bool = True) -> None:
        super().__init__()
        if not 1 <= rank <= width:
            raise NasplatError(
                f"rank = {rank} does not fit width {width}; give a whole number from 1 to {width}"
            )
        self.narrow, self.wide = nn.Linear(width, rank, bias=False), nn.Linear(rank, width)
        nn.init.zeros_(self.wide.weight)
        nn.init.zeros_(self.wide.bias)
        self.diagonal = nn.Parameter(torch.zeros(width)) if diagonal else None

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.wide(self.narrow(x))
        if self.diagonal is not None:
            change = change + self.diagonal * x
        return x + change
