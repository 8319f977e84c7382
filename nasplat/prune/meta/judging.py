"""What a network is worth as a start for pruning: how right it is once it is small."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nasplat.elastic.recalibration import recalibrate
from nasplat.prune.meta.data_models import device_of
from nasplat.prune.planning import plan_pruning


@dataclass(frozen=True, slots=True, eq=False)
class PrunedAccuracy:
    """Accuracy on validation data after pruning by group L2 norms, a mean over speed-ups in MACs.

    inputs (n, ...), targets (n,): the validation split. training: inputs that norms are recalibrated with, (m, ...).
    before, after: short finetunings in place, before and after pruning; None leaves them out. Batches go to where the
    network is.
    """

    inputs: Tensor
    targets: Tensor
    training: Tensor
    speedups: tuple[float, ...] = (2.0, 3.0)
    before: Callable[[nn.Module], object] | None = None
    after: Callable[[nn.Module], object] | None = None
    batch: int = 500

    def __call__(self, module: nn.Module) -> float:
        if self.before is not None:
            self.before(module)
        return statistics.fmean(self._pruned(module, speedup) for speedup in self.speedups)

    def _pruned(self, module: nn.Module, speedup: float) -> float:
        traced = module if device_of(module).type == "cpu" else copy.deepcopy(module).cpu()
        small = plan_pruning(traced, (self.inputs[:1].cpu(),), "l2", speedup=speedup).apply(module)
        if self.after is not None:
            self.after(small)
        device = device_of(small)
        recalibrate(small, (batch.to(device) for batch in torch.split(self.training, self.batch)))
        return self.accuracy(small)

    @torch.no_grad()
    def accuracy(self, module: nn.Module) -> float:
        """The share of validation inputs that a network in eval mode gets right."""
        module.eval()
        device = device_of(module)
        parts = zip(torch.split(self.inputs, self.batch), torch.split(self.targets, self.batch), strict=True)
        right = (module(x.to(device)).argmax(1) == y.to(device) for x, y in parts)
        return sum(int(one.sum()) for one in right) / len(self.targets)
