"""Pruning: a plan of which channels stay, as data, and the smaller network that it gives.

plan = plan_pruning(model, example, score="l2", speedup=2.0)
small = plan.apply(model)
"""

from __future__ import annotations

from nasplat.prune.greedy import GreedySettings, greedy_kept
from nasplat.prune.masked import channel_masks, masked
from nasplat.prune.plan import Plan, PrunedGroup, load_plan
from nasplat.prune.planning import PruneSettings, Target, plan_of, plan_pruning
from nasplat.prune.pool import units_of
from nasplat.prune.prunable import Choice, Prunable, prunable
from nasplat.prune.regularisers import GroupSparsity, Growing, ScaleL1
from nasplat.prune.scores import SCORES, ChannelScore, Evidence

__all__ = [
    "SCORES",
    "ChannelScore",
    "Choice",
    "Evidence",
    "GreedySettings",
    "GroupSparsity",
    "Growing",
    "Plan",
    "Prunable",
    "PruneSettings",
    "PrunedGroup",
    "ScaleL1",
    "Target",
    "channel_masks",
    "greedy_kept",
    "load_plan",
    "masked",
    "plan_of",
    "plan_pruning",
    "prunable",
    "units_of",
]
