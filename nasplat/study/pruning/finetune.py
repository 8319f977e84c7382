"""Training a pruned network a little further."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from nasplat.data import Dataset, batches
from nasplat.study.pruning.order import Finetuning
from nasplat.study.run import Watcher
from nasplat.supernet import Settings, train_network

SCORED = 8
"""Batches of training data that a score sees."""


def finetune(
    module: nn.Module, data: Dataset, how: Finetuning, settings: Settings, watcher: Watcher
) -> list[float]:
    """Train a network in place for `how.epochs`; the task's metric on the validation split after each of them.

    The validation split chooses nothing: the last weights stay. The network is on the CPU again, in evaluation mode.
    """
    values: list[float] = []
    if how.epochs:

        def note(epoch: int, value: float) -> None:
            values.append(value)
            watcher.say(f"epoch {epoch}/{how.epochs}: validation {data.task.metric} {value:.4g}")

        train_network(module, data, how.recipe(how.epochs, len(data.train)), settings, on_epoch=note)
    module.cpu().eval()
    return values


def losses(data: Dataset, size: int, seed: int) -> Callable[[nn.Module], Iterator[Tensor]]:
    """What scores that look at data get: the task's loss on the first batches of the shuffled training split."""

    def loss(module: nn.Module) -> Iterator[Tensor]:
        device = next((p.device for p in module.parameters()), torch.device("cpu"))
        generator = torch.Generator().manual_seed(seed)
        found = batches(data.train, min(size, len(data.train)), generator=generator, device=device)
        for _, (inputs, targets) in zip(range(SCORED), found, strict=False):
            yield data.task.loss(module(inputs), targets)

    return loss
