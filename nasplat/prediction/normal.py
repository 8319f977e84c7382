"""Numbers as normal scores: what matters is their order, and tails are tame whatever they were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nasplat.errors import NasplatError

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class NormalScores:
    """A strictly increasing map from numbers to normal scores and back, straight between its knots.

    numbers, scores (k,): the different training numbers and the normal quantiles of their mean ranks, (r - 1/2) / n
    (Hazen's positions; the rank-based inverse normal transform). Beyond the knots the map goes on with the mean slope
    of their outer tenth, so that what lies outside the training range keeps its order.
    """

    numbers: Numbers
    scores: Numbers

    @classmethod
    def of(cls, numbers: ArrayLike) -> Self:
        """The map of these finite numbers (n,)."""
        from scipy.special import ndtri

        known, counts = np.unique(np.asarray(numbers, np.float64), return_counts=True)
        ranks = np.cumsum(counts) - (counts - 1) / 2
        return cls(known, np.asarray(ndtri((ranks - 0.5) / counts.sum())))

    def scores_of(self, numbers: ArrayLike) -> Numbers:
        """Normal scores of numbers, of the same shape."""
        return _along(np.asarray(numbers, np.float64), self.numbers, self.scores)

    def numbers_of(self, scores: ArrayLike) -> Numbers:
        """The inverse of `scores_of`; of a single training number, that number."""
        return _along(np.asarray(scores, np.float64), self.scores, self.numbers)


def _along(x: Numbers, xs: Numbers, ys: Numbers) -> Numbers:
    """Linear between the knots (xs, ys), and beyond them along their outer tenth."""
    if len(xs) < 2:
        return np.full(x.shape, ys[0] if len(ys) else 0.0)
    inside = np.interp(x, xs, ys)
    m = max(1, (len(xs) - 1) // 10)
    below = np.minimum(x - xs[0], 0.0) * (ys[m] - ys[0]) / (xs[m] - xs[0])
    above = np.maximum(x - xs[-1], 0.0) * (ys[-1] - ys[-1 - m]) / (xs[-1] - xs[-1 - m])
    return np.asarray(inside + below + above)


def state_of(maps: Mapping[str, NormalScores]) -> dict[str, NDArray[Any]]:
    """Maps as arrays by name."""
    return {f"{name}.{part}": getattr(m, part) for name, m in maps.items() for part in ("numbers", "scores")}


def map_in(arrays: Mapping[str, NDArray[Any]], name: str) -> NormalScores:
    """The map of a name among arrays that `state_of` gave."""
    return NormalScores(arrays[f"{name}.numbers"], arrays[f"{name}.scores"])


def checked_targets(count: int, targets: ArrayLike) -> Numbers:
    """Targets (count,) of at least two samples; NasplatError for other shapes and numbers that are not finite."""
    y = np.asarray(targets, np.float64)
    if y.shape != (count,) or len(y) < 2:
        raise NasplatError(
            f"{count} samples and targets of shape {y.shape}: give one number for each of two or more"
        )
    if not np.isfinite(y).all():
        raise NasplatError(
            f"target {int(np.argmin(np.isfinite(y)))} is {y[~np.isfinite(y)][0]}: leave such samples out"
        )
    return y
