"""Masks of single weights: plans, how they hold during training, lottery tickets, and what they cost in time."""

from __future__ import annotations

from nasplat.prune.sparse.formats import measure_formats, sparse_linear
from nasplat.prune.sparse.holding import HeldMasks, hold_masks
from nasplat.prune.sparse.lottery import Draw, Lottery, LotterySettings, draw_lottery
from nasplat.prune.sparse.plan import MaskedTensor, MaskPlan
from nasplat.prune.sparse.planning import MaskSettings, plan_masks, random_twin
from nasplat.prune.sparse.saving import load_mask_plan
from nasplat.prune.sparse.scores import WEIGHT_SCORES, WeightEvidence, WeightScore

__all__ = [
    "WEIGHT_SCORES",
    "Draw",
    "HeldMasks",
    "Lottery",
    "LotterySettings",
    "MaskPlan",
    "MaskSettings",
    "MaskedTensor",
    "WeightEvidence",
    "WeightScore",
    "draw_lottery",
    "hold_masks",
    "load_mask_plan",
    "measure_formats",
    "plan_masks",
    "random_twin",
    "sparse_linear",
]
