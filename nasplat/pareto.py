"""Pareto fronts: which points no other point beats, how much they cover, which one to take.

`values` has shape (n, m): n points, m objectives; `directions` names "minimize" or "maximize" for each.
A point with a NaN is unknown: it is never on a front and beats nothing. The counting is moocore's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

DIRECTIONS = ("minimize", "maximize")


def nondominated(values: ArrayLike, directions: Sequence[str]) -> NDArray[np.bool_]:
    """Mask (n,) of the points that no other point dominates; equal points stay together.

    One point dominates another when it is at least as good in every objective and better in one.
    """
    return np.equal(front_ranks(values, directions), 0)


def front_ranks(values: ArrayLike, directions: Sequence[str]) -> NDArray[np.int64]:
    """Rank (n,) of each point: 0 on the front, 1 on the front of the rest, and so on; -1 for the unknown."""
    import moocore

    costs = _costs(values, directions)
    known = ~np.isnan(costs).any(axis=1)
    ranks = np.full(len(costs), -1, dtype=np.int64)
    if known.any():
        ranks[known] = moocore.pareto_rank(costs[known])
    return ranks


def hypervolume(values: ArrayLike, directions: Sequence[str], reference: Sequence[float]) -> float:
    """Volume between the points and `reference` (m,), which is given in the objectives' own units and signs.

    Points that do not beat the reference in every objective add nothing. Zitzler and Thiele 1998.
    """
    import moocore

    costs = _costs(values, directions)
    corner = _costs([reference], directions)[0]
    inside = (costs < corner).all(axis=1)
    return float(moocore.hypervolume(costs[inside], ref=corner)) if inside.any() else 0.0


def knee(values: ArrayLike, directions: Sequence[str]) -> int:
    """Index of the point of the front that bends furthest towards the ideal point.

    Each objective is scaled to [0, 1] over the finite points of the front, 0 being its best value. The knee
    has the largest distance from the hyperplane through the m unit points (with two objectives: the line
    through both ends of the front) towards the ideal point (Das 1999, "On characterizing the 'knee' of the
    Pareto curve"). That distance is (1 - sum of scaled objectives) / sqrt(m), so the smallest sum wins;
    the first point wins a tie.
    Raises ValueError when no point is finite.
    """
    costs = _costs(values, directions)
    candidates = np.flatnonzero(nondominated(values, directions) & np.isfinite(costs).all(axis=1))
    if not len(candidates):
        raise ValueError("a knee needs at least one point with finite objectives; got none")
    front = costs[candidates]
    span = np.ptp(front, axis=0)
    scaled = (front - front.min(axis=0)) / np.where(span > 0, span, 1.0)
    sums = scaled.sum(axis=1).round(12)  # equal sums must stay equal after rounding errors
    return int(candidates[np.argmin(sums)])


def _costs(values: ArrayLike, directions: Sequence[str]) -> NDArray[np.float64]:
    """The values with every objective turned into one to minimise, checked."""
    unknown = [d for d in directions if d not in DIRECTIONS]
    if unknown:
        raise ValueError(f"direction {unknown[0]!r} is unknown; choose one of {DIRECTIONS}")
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        return np.empty((0, len(directions)))
    if array.ndim != 2 or array.shape[1] != len(directions):
        raise ValueError(
            f"values of shape {array.shape} do not fit the directions; expected (n, {len(directions)})"
        )
    return array * np.where(np.array(directions) == "maximize", -1.0, 1.0)
