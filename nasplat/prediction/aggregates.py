"""One order out of several scores: relative to the set of architectures that is asked about, and never stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nasplat.errors import NasplatError, expected_one_of

if TYPE_CHECKING:
    import pandas as pd

Columns = NDArray[np.float64]
"""Scores (n, k) of n architectures, all larger-is-better; NaN where a score has no value."""


def ranks(columns: Columns) -> NDArray[np.float64]:
    """Ranks (n, k) in each column: n is the best, equal values share the mean of their ranks, NaN is the worst."""
    import pandas as pd

    return pd.DataFrame(columns).rank(method="average", na_option="top").to_numpy(np.float64)


def log_rank(columns: Columns) -> NDArray[np.float64]:
    """Sum over scores of log(rank / n), (n,), the aggregate of AZ-NAS (arXiv:2403.19232): one bad rank costs much."""
    return np.asarray(np.log(ranks(columns) / len(columns)).sum(axis=1), np.float64)


def mean_rank(columns: Columns) -> NDArray[np.float64]:
    """Mean over scores of rank / n, (n,)."""
    return np.asarray(ranks(columns).mean(axis=1) / len(columns), np.float64)


def vote(columns: Columns) -> NDArray[np.float64]:
    """The share of the other architectures that most scores put behind this one, (n,); a tied vote counts a half.

    The pairwise majority of "Zero-Cost Proxies for Lightweight NAS" (arXiv:2101.08134), summed over all pairs. n^2 k
    comparisons in memory of n k.
    """
    order = ranks(columns)
    wins = [np.sign(np.sign(mine - order).sum(axis=1)).sum() for mine in order]
    return np.asarray([0.5 + 0.5 * won / max(len(order) - 1, 1) for won in wins], np.float64)


AGGREGATES: dict[str, Callable[[Columns], NDArray[np.float64]]] = {
    "log_rank": log_rank,
    "mean_rank": mean_rank,
    "vote": vote,
}


def aggregate(
    scores: pd.DataFrame, directions: Mapping[str, str], how: str | Mapping[str, float] = "log_rank"
) -> pd.Series[float]:
    """One number an architecture, larger is better, from a table of scores with a row for each.

    directions: "maximize" or "minimize" for each score that counts, by its column. how: a name of AGGREGATES, or a
    weight for each score, with which rank / n is averaged. The numbers hold within this table only. NasplatError
    for an unknown name, column or weight.
    """
    import pandas as pd

    for name in directions:
        if name not in scores:
            raise NasplatError(f"no score {name!r} in the table: {expected_one_of(name, scores.columns)}")
    signs = [1.0 if directions[name] == "maximize" else -1.0 for name in directions]
    columns = scores[list(directions)].to_numpy(np.float64) * signs
    if isinstance(how, str):
        if how not in AGGREGATES:
            raise NasplatError(f"unknown aggregate {how!r}: {expected_one_of(how, AGGREGATES)}")
        return pd.Series(AGGREGATES[how](columns), scores.index)
    return pd.Series(_weighted(columns, list(directions), how), scores.index)


def _weighted(columns: Columns, names: list[str], weights: Mapping[str, float]) -> NDArray[np.float64]:
    """The weighted mean of rank / n."""
    for name in weights:
        if name not in names:
            raise NasplatError(
                f"a weight for {name!r}, which has no direction: {expected_one_of(name, names)}"
            )
    given = np.array([weights.get(name, 0.0) for name in names], np.float64)
    if not (given >= 0).all() or given.sum() == 0:
        raise NasplatError(f"weights {dict(weights)}: expected none below 0, and one above")
    return np.asarray(ranks(columns) @ given / given.sum() / len(columns), np.float64)
