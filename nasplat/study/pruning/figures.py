"""What a network costs and how good it is, before and after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nasplat.data import Dataset, Split, Task, evaluate
from nasplat.measure import LatencyResult, count_macs, count_params, measure_latency

TRIES = 3


@dataclass(frozen=True, slots=True)
class Figures:
    """Parameters, multiply-adds for one input, latency of a batch; the task's metric, None where there is no data."""

    params: int
    macs: int
    latency: LatencyResult
    validation: float | None = None
    test: float | None = None

    def as_json(self) -> dict[str, Any]:
        """The numbers as a card shows them."""
        return {
            "params": self.params,
            "macs": self.macs,
            "latency": latency_json(self.latency),
            "validation": self.validation,
            "test": self.test,
        }


def latency_json(latency: LatencyResult) -> dict[str, Any]:
    """A latency with its spread, its device and its protocol."""
    return {
        "median_ms": latency.median_ms,
        "iqr_ms": latency.iqr_ms,
        "n": latency.n,
        "noisy": latency.noisy,
        "device": latency.device.to_json(),
        "protocol": latency.protocol,
    }


def judged(module: nn.Module, example: Tensor, device: str, data: Dataset | None) -> Figures:
    """The figures of a network. example (n, ...): n inputs are timed at once. The test split is read here, once."""
    clocked = clock(module, example, device)
    scores: dict[str, float] = {}
    if data is not None:
        module = module.to(device)
        splits: dict[str, Split] = {"validation": data.validation, "test": data.test}
        scores = {name: evaluate(module, split, data.task, device=device) for name, split in splits.items()}
        module.cpu()
    return Figures(count_params(module), count_macs(module, example), clocked, **scores)


def clock(module: nn.Module, example: Tensor, device: str | torch.device) -> LatencyResult:
    """Latency on a device; a noisy measurement is repeated up to twice, and the narrowest one counts."""
    tries: list[LatencyResult] = []
    while len(tries) < TRIES and (not tries or tries[-1].noisy):
        tries.append(measure_latency(module, example, device=device))
    return min(tries, key=lambda t: t.iqr_ms / t.median_ms)


def _loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).abs().mean()


def _agreement(outputs: Tensor, targets: Tensor) -> float:
    return float(((outputs - targets).abs() <= 1e-4).double().mean())


AGREEMENT = Task("agreement", "maximize", "1", _loss, _agreement)
"""Where there is no data: the share of outputs that are, to 1e-4, those of the network before it was written."""
