"""Batches of a split, and what a module says about them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from nasplat.data.dataset import Split, Task


def batches(
    split: Split,
    size: int,
    *,
    generator: torch.Generator | None = None,
    device: str | torch.device = "cpu",
) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs (inputs, targets) of at most `size` examples on `device`: each example once.

    In a random order with a generator (a CPU one), else in the order of the split.
    """
    order = torch.arange(len(split)) if generator is None else torch.randperm(len(split), generator=generator)
    for indices in torch.split(order, size):
        yield take(split, indices, device)


def take(split: Split, indices: Tensor, device: str | torch.device = "cpu") -> tuple[Tensor, Tensor]:
    """The examples of some indices (k,) on `device`; indexed where the split lies, so that little travels."""
    where = indices.to(split.inputs.device)
    inputs = split.inputs[where].to(device, non_blocking=True)
    return inputs, split.targets[where].to(device, non_blocking=True)


def random_inputs(n: int, shape: Sequence[int], vocabulary: int | None = None, *, seed: int = 0) -> Tensor:
    """Inputs (n, *shape) without any meaning: normal float32 numbers, or int64 tokens below the vocabulary."""
    source = torch.Generator().manual_seed(seed)
    if vocabulary is None:
        return torch.randn(n, *shape, generator=source)
    return torch.randint(vocabulary, (n, *shape), generator=source)


def packed(inputs: Tensor, channels_last: bool) -> Tensor:
    """Images (n, c, h, w) in channels_last memory where asked; anything else as it is."""
    if channels_last and inputs.ndim == 4:
        return inputs.to(memory_format=torch.channels_last)  # `contiguous` leaves the strides of one channel
    return inputs


def predict(
    module: nn.Module, inputs: Tensor, *, batch_size: int = 256, device: str | torch.device = "cpu"
) -> Tensor:
    """Outputs (n, ...) of a module for inputs (n, ...), on the CPU; the module is on `device` already.

    In eval mode and without gradients; every submodule gets its own mode back.
    """
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            outputs = [module(part.to(device)).cpu() for part in torch.split(inputs, batch_size)]
    finally:
        for part, training in modes.items():
            part.training = training
    return torch.cat(outputs)


def evaluate(
    module: nn.Module, split: Split, task: Task, *, batch_size: int = 256, device: str | torch.device = "cpu"
) -> float:
    """The task's score of a module on a whole split, in the task's unit."""
    outputs = predict(module, split.inputs, batch_size=batch_size, device=device)
    return task.score(outputs, split.targets.cpu())
