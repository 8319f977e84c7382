"""Means over paired seeds with 95 % t intervals, and what they show, as cells of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from scipy.stats import t

Gap = tuple[float, float]  # a mean difference, and half the length of its interval


def reach(values: pd.Series) -> float:
    """Half the length of the 95 % t interval of a mean; 0 for a single value."""
    n = values.count()
    return float(t.ppf(0.975, n - 1)) * values.std() / n**0.5 if n > 1 else 0.0


def gaps(mine: pd.DataFrame, other: pd.DataFrame, columns: Sequence[str]) -> dict[str, Gap]:
    """The paired differences mine - other of each column, by the index (the seeds) that both have."""
    found = {what: (mine[what] - other[what]).dropna() for what in columns}
    return {what: (values.mean(), reach(values)) for what, values in found.items() if len(values) > 1}


def cell(values: pd.Series, gap: Gap | None = None) -> str:
    """The mean, with the difference to the control where there is one; large numbers and 0 as whole ones."""
    values = values.dropna()
    if values.empty:
        return ""
    if abs(values.mean()) > 10 or not values.any():
        return f"{values.mean():.0f}"
    told = f"{values.mean():.3f}"
    return told if gap is None else f"{told} ({gap[0]:+.3f} ± {gap[1]:.3f})"


def verdict(found: Mapping[str, Gap], better: Mapping[str, int]) -> str:
    """What is shown, where the interval excludes 0. better: 1 where more of a column is better, -1 where less is."""
    shown = {what: gap * better[what] > 0 for what, (gap, reach) in found.items() if abs(gap) > reach}
    words = {
        "better": [what for what in shown if shown[what]],
        "worse": [what for what in shown if not shown[what]],
    }
    return "; ".join(f"{word}: {', '.join(names)}" for word, names in words.items() if names) or "nothing"
