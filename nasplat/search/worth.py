"""Trials as one number each, for samplers that learn a single value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial

Floats: TypeAlias = NDArray[np.float64]

RHO = 0.05
"""The share of the sum in the augmented Tchebycheff norm, as in ParEGO."""


def worths(trials: Sequence[FrozenTrial], directions: Sequence[str], rng: np.random.Generator) -> Floats:
    """How good each complete trial is among these, (n,), as normal scores: more is better.

    One objective is ordered as it is. Of several, a random weighting is drawn: minus the augmented Tchebycheff norm of
    the objectives, each scaled to 0 (best seen) to 1 (worst seen), as in ParEGO (J. Knowles, "ParEGO: a hybrid
    algorithm with on-line landscape approximation", 2006, equation 2). Every infeasible trial is worth less than every
    feasible one, and the less the greater the sum of its violations. Of this order each trial gets the normal quantile
    of its mean rank, (r - 1/2) / n: values far below all others would otherwise make every doubt look like hope.
    """
    from scipy.special import ndtri  # here: who only lists samplers needs no SciPy

    signs = np.array([-1.0 if direction == "maximize" else 1.0 for direction in directions])
    losses = np.array([trial.values for trial in trials], np.float64).reshape(len(trials), -1) * signs
    broken = np.array([sum(max(0.0, v) for v in trial.constraints.values()) for trial in trials])
    kept = broken == 0
    single = losses[:, 0] if len(directions) == 1 else _tchebycheff(losses, kept, rng)
    order = np.stack([-broken, np.where(kept, -single, 0.0)], axis=1)  # lexicographically, the worst first
    _, place, counts = np.unique(order, axis=0, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    return np.asarray(ndtri((ranks[place.ravel()] - 0.5) / len(trials)))


def _tchebycheff(losses: Floats, kept: NDArray[np.bool_], rng: np.random.Generator) -> Floats:
    """max_j w_j f_j + RHO sum_j w_j f_j of losses (n, objectives), with weights drawn evenly from the simplex.

    f is scaled by the trials that are kept, so that an infeasible one moves nothing.
    """
    known = losses[kept] if kept.any() else losses
    width = np.ptp(known, axis=0)
    scaled = (losses - known.min(0)) / np.where(width > 0, width, 1.0)
    weighted = rng.dirichlet(np.ones(losses.shape[1])) * scaled
    return np.asarray(weighted.max(1) + RHO * weighted.sum(1))
