"""The control of every score."""

from __future__ import annotations

import torch
from torch import Tensor

from nasplat.channels.permutation import channels
from nasplat.prune.scores.evidence import Evidence
from nasplat.prune.scores.members import without_slots


def random(evidence: Evidence) -> Tensor:
    """Numbers drawn uniformly from [0, 1), from the evidence's seed: importance (channels,)."""
    generator = torch.Generator().manual_seed(evidence.seed)
    drawn = torch.rand(channels(evidence.spec), generator=generator, dtype=torch.float64)
    return without_slots(evidence.spec, drawn)
