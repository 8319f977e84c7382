"""Which networks are like this one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def nearest(codes: Floats, queries: Floats, count: int) -> tuple[NDArray[np.int64], Floats]:
    """Of n codes (n, d), the `count` that are closest to each of q queries (q, d): places (q, count) and distances.

    Distances are Euclidean after every column has been divided by its deviation over the codes, per root of the number
    of columns that differ: about sqrt(2) for two codes that have nothing in common. Equal distances come in order.
    """
    width = codes.std(0)
    told = width > 1e-9 * np.abs(codes).max(0, initial=0.0)
    scaled, asked = (values[:, told] / width[told] for values in (codes, queries))
    square = (asked**2).sum(1)[:, None] - 2 * asked @ scaled.T + (scaled**2).sum(1)
    distances = np.sqrt(np.maximum(square, 0.0) / max(int(told.sum()), 1))
    places = np.argsort(distances, axis=1, kind="stable")[:, :count]
    return places, np.take_along_axis(distances, places, 1)
