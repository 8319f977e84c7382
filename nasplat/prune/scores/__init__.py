"""Scores: how much each channel of a network matters, from its weights or from a loss on data.

importance = SCORES["l2"](Evidence(module, (images,), spec))
importance = Taylor(normaliser="mean")(Evidence(module, (images,), spec, loss))
"""

from __future__ import annotations

from nasplat.prune.scores.chance import random
from nasplat.prune.scores.evidence import ChannelScore, Evidence, Loss
from nasplat.prune.scores.hessian import Hessian
from nasplat.prune.scores.magnitude import Magnitude
from nasplat.prune.scores.median import FPGM
from nasplat.prune.scores.taylor import Taylor

SCORES: dict[str, ChannelScore] = {
    "l1": Magnitude(p=1, normaliser="max"),
    "l2": Magnitude(p=2, normaliser="max"),  # the group norm of DepGraph and of MetaPruning
    "lamp": Magnitude(p=2, normaliser="lamp"),
    "bn_scale": Magnitude(
        p=1, normaliser="none", kinds=("scale",)
    ),  # network slimming: one threshold for all
    "fpgm": FPGM(),
    "taylor": Taylor(),
    "hessian": Hessian(),
    "random": random,
}
"""By name; "taylor" and "hessian" look at data."""

__all__ = [
    "FPGM",
    "SCORES",
    "ChannelScore",
    "Evidence",
    "Hessian",
    "Loss",
    "Magnitude",
    "Taylor",
]
