"""One training loop for all neural predictors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from nasplat.prediction.losses import LOSSES, LossName

Inputs: TypeAlias = dict[str, Tensor]
"""The keyword arguments of a network; the first axis of each tensor is that of the n samples."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a network is trained: AdamW with weight decay, its rate falling to zero along a cosine.

    epochs are passes over all samples, in batches in random order. members: networks in the ensemble.
    """

    loss: LossName = "hinge"
    epochs: int = 150
    batch: int = 32
    rate: float = 1e-3
    decay: float = 5e-4
    members: int = 3


def train(network: nn.Module, inputs: Inputs, targets: Tensor, recipe: Recipe) -> None:
    """Train a network in place on standardised targets (n,); it ends in evaluation mode.

    Batches and dropout draw from torch's global random state: see `seeded`.
    """
    n, loss = len(targets), LOSSES[recipe.loss]
    steps = recipe.epochs * -(-n // recipe.batch)
    optimizer = torch.optim.AdamW(network.parameters(), recipe.rate, weight_decay=recipe.decay, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))
    network.train()
    for _ in range(recipe.epochs):
        for rows in torch.randperm(n).split(recipe.batch):
            optimizer.zero_grad()
            loss(network(**taken(inputs, rows)), targets[rows]).backward()
            optimizer.step()
            schedule.step()
    network.eval()


@torch.no_grad()
def outputs_of(network: nn.Module, read: Callable[[slice], Inputs], n: int, batch: int = 2048) -> Tensor:
    """What a network puts out for n samples, read and judged batch by batch."""
    return torch.cat([network(**read(slice(start, start + batch))) for start in range(0, n, batch)])


def taken(inputs: Mapping[str, Tensor], rows: Tensor) -> Inputs:
    """The inputs of some samples."""
    return {name: tensor[rows] for name, tensor in inputs.items()}


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """A seeded global random state of the CPU inside the block; that of the caller afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
