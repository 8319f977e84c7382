"""What a set-aware metanetwork is trained for, and how it is judged: rises themselves, and their order in a mask."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def regression(predicted: Tensor, wanted: Tensor) -> Tensor:
    """Smooth absolute error over the units that were looked at: (m, units), NaN where none was -> a scalar."""
    there = wanted.isfinite()
    return F.smooth_l1_loss(predicted[there], wanted[there])


def pairs(predicted: Tensor, wanted: Tensor) -> Tensor:
    """RankNet's loss (ICML 2005) over the pairs of each mask, weighted by how far their targets are apart: a scalar."""
    further = wanted[:, :, None] - wanted[:, None, :]  # NaN for pairs that were not looked at
    weight = torch.where(further > 0, further, 0.0)
    said = predicted[:, :, None] - predicted[:, None, :]
    return (weight * F.softplus(-said)).sum() / weight.sum().clamp(min=1e-8)


def correlations(predicted: Tensor, wanted: Tensor) -> Tensor:
    """Spearman's correlation of every mask, (m,): (m, units), NaN where none was looked at; 0 for a constant one."""
    return torch.stack(
        [_spearman(p[w.isfinite()], w[w.isfinite()]) for p, w in zip(predicted, wanted, strict=True)]
    )


def _spearman(first: Tensor, second: Tensor) -> Tensor:
    ranks = torch.stack([_ranks(first), _ranks(second)])
    ranks = ranks - ranks.mean(1, keepdim=True)
    scale = ranks.square().sum(1).prod().sqrt()
    return (ranks[0] * ranks[1]).sum() / scale.clamp(min=1e-12)


def _ranks(values: Tensor) -> Tensor:
    """Ranks; equal values share their mean."""
    below = (values[:, None] > values[None]).sum(1)
    equal = (values[:, None] == values[None]).sum(1)
    return below.double() + (equal - 1).double() / 2
