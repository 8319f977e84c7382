"""One training loop for all neural predictors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

import torch
from torch import Tensor, nn

from nasplat.prediction.losses import LOSSES, LossName

Inputs: TypeAlias = dict[str, Tensor]
"""The keyword arguments of a network; the first axis of each tensor is that of the n samples."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a network is trained: AdamW with weight decay, its rate falling to zero along a cosine.

    steps: batches, whatever the number of samples, so that the time of a fit does not depend on it; samples come
    in random order, each once before any comes again. members: networks in the ensemble.
    """

    loss: LossName = "hinge"
    steps: int = 800
    batch: int = 32
    rate: float = 1e-3
    decay: float = 5e-4
    members: int = 3


def train(network: nn.Module, inputs: Inputs, targets: Tensor, recipe: Recipe) -> None:
    """Train a network in place on standardised targets (n,); it ends in evaluation mode.

    Batches and dropout draw from torch's global random state: see `seeded`.
    """
    loss = LOSSES[recipe.loss]
    optimizer = torch.optim.AdamW(network.parameters(), recipe.rate, weight_decay=recipe.decay, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.steps)
    network.train()
    for rows in islice(_batches(len(targets), recipe.batch), recipe.steps):
        optimizer.zero_grad()
        loss(network(**taken(inputs, rows)), targets[rows]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    network.eval()


def _batches(n: int, size: int) -> Iterator[Tensor]:
    """Numbers of samples, without end: batches of one random order after the other, all about equally large."""
    while True:
        yield from torch.randperm(n).tensor_split(-(-n // size))


def taken(inputs: Mapping[str, Tensor], rows: Tensor) -> Inputs:
    """The inputs of some samples."""
    return {name: tensor[rows] for name, tensor in inputs.items()}


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """A seeded global random state of the CPU inside the block; that of the caller afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # that of torch would move those of devices, for good
        yield
