"""Recalibration: the batch norm statistics of one extracted network, from training images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nasplat.errors import NasplatError


@dataclass(frozen=True, slots=True)
class Recalibration:
    """What was done: how many norms got statistics from how many batches and images."""

    layers: int
    batches: int
    images: int


class _Moments:
    """Count, sum and sum of squares of what enters a norm, per channel, in double precision."""

    def __init__(self) -> None:
        self.count = 0
        self.sum: Tensor | float = 0.0
        self.squares: Tensor | float = 0.0

    def see(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].float()
        var, mean = torch.var_mean(x, dim=[d for d in range(x.dim()) if d != 1], correction=0)
        n, mean = x.numel() // x.shape[1], mean.double()
        self.count += n
        self.sum += n * mean
        self.squares += n * (var.double() + mean**2)

    def total(self) -> dict[str, Tensor | float]:
        """Mean and total variance: the mean variance within batches plus the variance of their means."""
        mean = self.sum / self.count
        var = (self.squares / self.count - mean**2) * self.count / max(self.count - 1, 1)
        return {"running_mean": mean, "running_var": var}


@torch.no_grad()
def recalibrate(module: nn.Module, batches: Iterable[Tensor]) -> Recalibration:
    """Set the running statistics of all batch norms to those of the given training batches, in place.

    Each norm gets the cumulative mean and the unbiased total variance of everything that entered it, as
    if the batches were one; the mean of batch variances, as in Once-for-All (arXiv:1908.09791), would leave
    out the variance of batch means. One pass is enough: norms work by batch statistics during it, so a late norm
    sees earlier ones calibrated, batch by batch. The same batches in any order give the same statistics.
    Dropout is off; training mode, momentum and random numbers stay as they were.

    batches: images (n, c, h, w) on the module's device, more than one value per channel in each.
    NasplatError when there is no batch, or one that is empty or no tensor.
    """
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
    moments = [_Moments() for _ in norms]
    count = images = 0
    with _batch_statistics(module, norms):
        hooks = [n.register_forward_pre_hook(m.see) for n, m in zip(norms, moments, strict=True)]
        try:
            for batch in batches:
                _check(batch)
                module(batch)
                count, images = count + 1, images + len(batch)
        finally:
            for hook in hooks:
                hook.remove()
    if not count:
        raise NasplatError("recalibrate got no batch: give at least one batch of training images")
    seen = [(norm, m) for norm, m in zip(norms, moments, strict=True) if m.count]
    for norm, m in seen:
        for name, value in m.total().items():
            norm.get_buffer(name).copy_(torch.as_tensor(value))
        norm.get_buffer("num_batches_tracked").fill_(count)
    return Recalibration(len(seen), count, images)


def _check(batch: object) -> None:
    if not isinstance(batch, Tensor):
        kind = type(batch).__name__
        raise NasplatError(f"recalibrate got a {kind} as a batch: give the inputs alone, each batch a tensor")
    if not len(batch):
        raise NasplatError("recalibrate got an empty batch: leave it out")


@contextmanager
def _batch_statistics(module: nn.Module, norms: list[_BatchNorm]) -> Iterator[None]:
    """Evaluation mode, but norms use batch statistics and keep no running ones."""
    modes = [(m, m.training) for m in module.modules()]
    module.eval()
    for norm in norms:
        norm.train()
        norm.track_running_stats = False
    try:
        yield
    finally:
        for m, mode in modes:
            m.training = mode
        for norm in norms:
            norm.track_running_stats = True
