"""The shared passes: one forward pass of one copy, and the backward passes over its graph that scores ask for."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from nasplat.scoring.stages import STAGES, Run

PASSES: dict[str, tuple[str, ...]] = {
    "macs": ("count",),
    "outputs": ("forward",),
    "relu_kernels": ("forward",),
    "jacobian_correlations": ("forward", "logits"),
    "weight_gradients": ("forward", "loss"),
    "gate_gradients": ("forward", "loss"),
    "hessian_gradients": ("forward", "loss", "curvature"),
    "block_maps": ("blocks",),
    "block_entropies": ("blocks",),
}
"""What scores can share, and the stages that it takes. Evidence says what each of them is."""


@dataclass(frozen=True, slots=True)
class Passes:
    """found: what each pass gave, or the exception that stopped it. used, spent: users and seconds of each stage."""

    found: dict[str, Any]
    used: Counter[str]
    spent: dict[str, float] = field(default_factory=dict)

    def seconds(self, shares: frozenset[str]) -> float:
        """The part of the time that falls to one of the scores that share these passes."""
        return sum(self.spent[stage] / self.used[stage] for stage in _stages(shares))


def run_passes(
    model: nn.Module, images: Tensor, labels: Tensor, asked: Sequence[frozenset[str]], seed: int
) -> Passes:
    """Every pass that a score asks for, once, on one copy in training mode with a random state from `seed`.

    asked: the passes of each score. A stage that fails stops the passes that need it, and no other.
    """
    wanted: frozenset[str] = frozenset().union(*asked)
    passes = Passes({}, Counter(stage for shares in asked for stage in _stages(shares)))
    if not wanted:
        return passes
    failures: dict[str, Exception] = {}
    start = time.perf_counter()
    with seeded(model, seed):
        run = Run(model, (images, labels), wanted, _stages(wanted))
        for stage in (stage for stage in STAGES if stage in passes.used):
            before = next((failures[s] for s in _before(stage) if s in failures), None)
            try:
                if before is not None:
                    raise before
                _seed(_gpus(model), seed)  # whatever ran before
                STAGES[stage](run)
            except Exception as error:
                failures[stage] = error
            passes.spent[stage] = time.perf_counter() - start
            start = time.perf_counter()
        run.close()
    for name in wanted:
        failed = failures.get(PASSES[name][-1]) or run.problems.get(name)
        passes.found[name] = failed or run.found[name]
    return passes


@contextmanager
def seeded(model: nn.Module, seed: int) -> Iterator[None]:
    """Seeded random states inside the block; those of the caller afterwards."""
    gpus = _gpus(model)
    with torch.random.fork_rng(devices=gpus):
        _seed(gpus, seed)
        yield


def _gpus(model: nn.Module) -> list[torch.device]:
    return list({tensor.device for tensor in model.state_dict().values() if tensor.is_cuda})


def _seed(gpus: Sequence[torch.device], seed: int) -> None:
    """Seed the CPU and these GPUs; torch.manual_seed would move the draws of the others, too."""
    torch.default_generator.manual_seed(seed)
    for gpu in gpus:
        with torch.cuda.device(gpu):
            torch.cuda.manual_seed(seed)


def _stages(shares: frozenset[str]) -> frozenset[str]:
    return frozenset(stage for name in shares for stage in PASSES[name])


def _before(stage: str) -> tuple[str, ...]:
    """The stages that a stage builds on."""
    chain = next(chain for chain in PASSES.values() if stage in chain)
    return chain[: chain.index(stage)]
