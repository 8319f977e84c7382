"""Scores: one number from one untrained network and one batch, with its cost, and a reason where there is none."""

from __future__ import annotations

from nasplat.scoring.engine import batch_digest, load_scores, score
from nasplat.scoring.kinds import NotApplicable, Score, ScoreFunction, ScoreResult, Undefined
from nasplat.scoring.layers import weighted_layers

__all__ = [
    "NotApplicable",
    "Score",
    "ScoreFunction",
    "ScoreResult",
    "Undefined",
    "batch_digest",
    "load_scores",
    "score",
    "weighted_layers",
]
