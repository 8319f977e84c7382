"""Optimisers whose rates differ from row to row: each row of a matrix is a network of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor


class RowOptimiser(Protocol):
    """Updates the first k rows of parameters (m, p) in place, given their gradients (k, p) at step 0, 1, ..."""

    def step(self, rows: Tensor, gradients: Tensor, step: int) -> None: ...


@dataclass(slots=True, eq=False)
class AdamW:
    """AdamW (arXiv:1711.05101) with the defaults of torch.optim.AdamW; rate and decay are (m, 1)."""

    rate: Tensor
    decay: Tensor
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    _moments: list[Tensor] = field(default_factory=list, init=False)

    def step(self, rows: Tensor, gradients: Tensor, step: int) -> None:
        """One update."""
        if not self._moments:
            self._moments += [torch.zeros_like(rows), torch.zeros_like(rows)]
        k, (b1, b2) = len(rows), self.betas
        first, second = (moment[:k] for moment in self._moments)
        rows.mul_(1 - self.rate[:k] * self.decay[:k])
        first.lerp_(gradients, 1 - b1)
        second.mul_(b2).addcmul_(gradients, gradients, value=1 - b2)
        spread = (second / (1 - b2 ** (step + 1))).sqrt_().add_(self.epsilon)
        rows.sub_(first / spread * (self.rate[:k] / (1 - b1 ** (step + 1))))


@dataclass(slots=True, eq=False)
class SGD:
    """Gradient descent with momentum and L2 decay, as torch.optim.SGD; rate and decay are (m, 1)."""

    rate: Tensor
    decay: Tensor
    momentum: float = 0.9
    _velocity: list[Tensor] = field(default_factory=list, init=False)

    def step(self, rows: Tensor, gradients: Tensor, step: int) -> None:
        """One update."""
        if not self._velocity:
            self._velocity.append(torch.zeros_like(rows))
        k = len(rows)
        velocity = self._velocity[0][:k]
        velocity.mul_(self.momentum).add_(gradients + self.decay[:k] * rows)
        rows.sub_(velocity * self.rate[:k])


ROW_OPTIMISERS: dict[str, Callable[[Tensor, Tensor], RowOptimiser]] = {"adamw": AdamW, "sgd": SGD}
"""The optimisers by name, made of rates and decays (m, 1)."""
