"""Distances among the points of a grid: which of some points are nearest to a place, and which are neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Points: TypeAlias = "NDArray[np.int64]"
"""One point in each row: (n, k)."""


def nearest(points: Points, place: Sequence[int]) -> list[int]:
    """The rows that are nearest to a place (k,) in the city-block distance, in order."""
    away = _distances(points, place)
    return [int(i) for i in np.flatnonzero(away == away.min())]


def relative_neighbours(points: Points, i: int) -> list[int]:
    """The rows j such that no third point is nearer to both i and j than these are to each other, in order.

    The relative neighbourhood graph (Toussaint, Pattern Recognition 12, 1980) in the city-block distance: symmetric,
    and connected whatever points there are, since it holds a shortest tree that spans them. All points differ.
    """
    away = _distances(points, points[i])
    left = away > 0
    found = []
    while left.any():
        j = int(np.where(left, away, away.max() + 1).argmin())
        apart = _distances(points, points[j])
        if not ((away < away[j]) & (apart < away[j])).any():
            found.append(j)
        left &= (away <= away[j]) | (apart >= away)  # j is between i and the others
        left[j] = False
    return sorted(found)


def _distances(points: Points, place: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    return np.asarray(np.abs(points - np.asarray(place, np.int64)).sum(axis=1))
