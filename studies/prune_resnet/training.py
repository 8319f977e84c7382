"""Finetuning, the same for every method, and what is measured of a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.channels import channel_spec
from nasplat.data import Dataset, batches, evaluate
from nasplat.elastic import recalibrate
from nasplat.prune.regularisers import Regulariser
from nasplat.supernet import Recipe, Settings, train_network

RECIPE = Recipe(epochs=1, batch_size=64, learning_rate=0.05)
EXAMPLE = torch.zeros(2, 1, 14, 14)
CALIBRATION = 16
"""Batches of 64 training images that norms are recalibrated on, and that scores may look at."""


def finetune(
    network: nn.Module, data: Dataset, epochs: int, seed: int, regulariser: Regulariser | None = None
) -> None:
    """Train a network on in place: a short warm-up and a cosine, whose length is the number of epochs."""
    recipe, settings = replace(RECIPE, epochs=epochs), Settings(seed=seed, channels_last=True)
    spec = channel_spec(network, EXAMPLE)
    pulled = regulariser.on(network, spec) if regulariser else nullcontext()
    with pulled:
        train_network(network, data, recipe, settings)
    network.eval()


def calibration(data: Dataset) -> Iterator[tuple[Tensor, Tensor]]:
    """The same few batches of training images and labels for every method."""
    return islice(batches(data.train, 64, generator=torch.Generator().manual_seed(0)), CALIBRATION)


def losses(data: Dataset) -> Callable[[nn.Module], Iterator[Tensor]]:
    """What scores that look at data may ask: the cross entropy of a network on each of these batches."""
    return lambda network: (F.cross_entropy(network(x), y) for x, y in calibration(data))


def recalibrated(network: nn.Module, data: Dataset) -> float:
    """Accuracy on the validation images once norms have the statistics of the network as it is; changes them."""
    recalibrate(network, [x for x, _ in calibration(data)])
    return evaluate(network, data.validation, data.task)
