"""SIREN: images as networks, from the place of a pixel to its intensity (arXiv:2006.09661)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn


class Siren(nn.Module):
    """Linear layers with sines between them: places (n, 2) in -1 to 1 -> intensities (n, outputs).

    h = sin(frequency (W h + b)), initialised as section 3.2 and supplement 1.5 of the paper say: W uniform within 1/2
    in the first layer, for two inputs, and within sqrt(6 / i) / frequency in the others, i the width of their input.
    """

    def __init__(self, width: int, hidden: int, frequency: float, outputs: int) -> None:
        super().__init__()
        sizes = [2, *[width] * hidden]
        self.frequency = frequency
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(sizes))
        self.last = nn.Linear(width, outputs)
        for name, weight in self.named_parameters():
            if name.endswith("weight"):
                bound = 0.5 if name.startswith("layers.0") else math.sqrt(6 / width) / frequency
                nn.init.uniform_(weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.sin(self.frequency * layer(x))
        values: Tensor = self.last(x)
        return values


@dataclass(frozen=True, slots=True)
class SirenForm:
    """The shape of a SIREN: `hidden` layers of a width, and what it gives for a place."""

    width: int = 32
    hidden: int = 2
    frequency: float = 30.0
    outputs: int = 1
    family: str = "siren"

    def make(self) -> nn.Module:
        """A fresh SIREN of this form."""
        return Siren(self.width, self.hidden, self.frequency, self.outputs)


def places(height: int, width: int) -> Tensor:
    """The centres of all pixels, row by row, as (x, y) in -1 to 1: (height * width, 2)."""
    y, x = (torch.linspace(-1 + 1 / n, 1 - 1 / n, n) for n in (height, width))
    return torch.cartesian_prod(y, x).flip(1)


def render(module: nn.Module, height: int, width: int) -> Tensor:
    """The image (outputs, height, width) that a SIREN has learned, on the CPU."""
    with torch.no_grad():
        values: Tensor = module(places(height, width))
    return values.T.reshape(-1, height, width)
