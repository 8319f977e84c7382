"""Trials as one number each, for samplers that learn a single value."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial

Floats = NDArray[np.float64]

RHO = 0.05
"""The share of the sum in the augmented Tchebycheff norm, as in ParEGO."""


def worths(trials: Sequence[FrozenTrial], directions: Sequence[str], rng: np.random.Generator) -> Floats:
    """How good each complete trial is, (n,); more is better.

    One objective counts as it is. Of several, a random weighting is drawn: minus the augmented Tchebycheff norm of
    the objectives, each scaled to 0 (best seen) to 1 (worst seen), as in ParEGO (J. Knowles, "ParEGO: a hybrid
    algorithm with on-line landscape approximation", 2006, equation 2). Every infeasible trial is worth less than every
    feasible one, and the less the greater the sum of its violations.
    """
    signs = np.array([-1.0 if direction == "maximize" else 1.0 for direction in directions])
    losses = np.array([trial.values for trial in trials], np.float64).reshape(len(trials), -1) * signs
    broken = np.array([sum(max(0.0, v) for v in trial.constraints.values()) for trial in trials])
    kept = broken == 0
    known = losses[kept] if kept.any() else losses
    found = -(losses[:, 0] if len(directions) == 1 else _tchebycheff(losses, known, rng))
    if kept.all():
        return np.asarray(found, np.float64)
    floor = found[kept].min() if kept.any() else 0.0
    step = np.ptp(found[kept]) if kept.any() else 0.0
    return np.where(kept, found, floor - (step or 1.0) * broken / broken.max())


def _tchebycheff(losses: Floats, known: Floats, rng: np.random.Generator) -> Floats:
    """max_j w_j f_j + RHO sum_j w_j f_j, with weights drawn evenly from the simplex; f scaled by the `known` ones."""
    width = np.ptp(known, axis=0)
    scaled = (losses - known.min(0)) / np.where(width > 0, width, 1.0)
    weighted = rng.dirichlet(np.ones(losses.shape[1])) * scaled
    return np.asarray(weighted.max(1) + RHO * weighted.sum(1))
