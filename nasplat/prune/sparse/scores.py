"""Scores of single weights: the higher, the more reason to keep."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from nasplat.errors import NasplatError
from nasplat.measure.size import evaluating
from nasplat.prune.scores.evidence import Loss


@dataclass(frozen=True, slots=True, eq=False)
class WeightEvidence:
    """What a score of weights may look at: the module, its maskable tensors by name, a loss, a seed."""

    module: nn.Module
    weights: Mapping[str, nn.Parameter]
    loss: Loss | None = None
    seed: int = 0


WeightScore: TypeAlias = Callable[[WeightEvidence], Mapping[str, Tensor]]
"""A number for every weight of every tensor of the evidence, by name and in the tensor's shape."""


def magnitude(evidence: WeightEvidence) -> dict[str, Tensor]:
    """|w|: what the lottery ticket hypothesis ranks by (arXiv:1803.03635), and hard to beat (arXiv:1902.09574)."""
    return {name: weight.detach().abs() for name, weight in evidence.weights.items()}


def snip(evidence: WeightEvidence) -> dict[str, Tensor]:
    """|w dL/dw|, the connection sensitivity of SNIP (arXiv:1810.02340, equation 6, without its common divisor).

    L is the sum of the given losses, in evaluation mode: for trained networks this is also the first order Taylor
    estimate of what the loss loses with a weight.
    """
    if evidence.loss is None:
        raise NasplatError("score 'snip' needs a loss of some data: give MaskSettings(loss=...)")
    for name, weight in evidence.weights.items():
        if not weight.requires_grad:
            raise NasplatError(
                f"score 'snip' needs gradients, but {name} is frozen: name it in keep, or let it train"
            )
    weights = list(evidence.weights.values())
    total = [torch.zeros_like(weight) for weight in weights]
    batches = 0
    with evaluating(evidence.module), torch.enable_grad():
        for loss in evidence.loss(evidence.module):
            batches += 1
            found = torch.autograd.grad(loss, weights, allow_unused=True)
            for so_far, gradient in zip(total, found, strict=True):
                if gradient is not None:
                    so_far += gradient
    if not batches:
        raise NasplatError("score 'snip' got no loss: let MaskSettings(loss=...) yield at least one batch's")
    pairs = zip(evidence.weights.items(), total, strict=True)
    return {name: (weight.detach() * gradient).abs() for (name, weight), gradient in pairs}


def random(evidence: WeightEvidence) -> dict[str, Tensor]:
    """Uniform numbers from the seed: the control of every other score (arXiv:2403.08265)."""
    source = torch.Generator().manual_seed(evidence.seed)
    return {
        name: torch.rand(weight.shape, generator=source, dtype=torch.float64)
        for name, weight in evidence.weights.items()
    }


WEIGHT_SCORES: dict[str, WeightScore] = {"magnitude": magnitude, "snip": snip, "random": random}
"""The scores by name."""
