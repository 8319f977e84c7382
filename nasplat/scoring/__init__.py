"""Scores: one number from one untrained network and one batch, with its cost, and a reason where there is none."""

from __future__ import annotations

from nasplat.scoring.blocks import block_maps
from nasplat.scoring.engine import batch_digest, load_scores, score
from nasplat.scoring.entropy import component_entropies
from nasplat.scoring.evidence import Evidence
from nasplat.scoring.initialise import initialise
from nasplat.scoring.kinds import BATCH, NEEDS, Score, ScoreFunction, ScoreResult
from nasplat.scoring.layers import Weighted, total, weighted_layers
from nasplat.scoring.maps import trace_body
from nasplat.scoring.passes import PASSES
from nasplat.scoring.reasons import NotApplicable, Undefined
from nasplat.scoring.relus import BeforeOperators, ReluInputs, agreement
from nasplat.scoring.stages import class_outputs, classifier_loss, gradients, network_outputs

__all__ = [
    "BATCH",
    "NEEDS",
    "PASSES",
    "BeforeOperators",
    "Evidence",
    "NotApplicable",
    "ReluInputs",
    "Score",
    "ScoreFunction",
    "ScoreResult",
    "Undefined",
    "Weighted",
    "agreement",
    "batch_digest",
    "block_maps",
    "class_outputs",
    "classifier_loss",
    "component_entropies",
    "gradients",
    "initialise",
    "load_scores",
    "network_outputs",
    "score",
    "total",
    "trace_body",
    "weighted_layers",
]
