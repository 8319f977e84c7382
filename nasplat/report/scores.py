"""Pictures of scores and predictors: who orders architectures alike, and how far a prediction can be trusted."""

from __future__ import annotations

from math import erf
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from nasplat.errors import NasplatError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def plot_agreement(frame: pd.DataFrame, *, path: str | Path | None = None) -> Figure:
    """Spearman's rank correlation of each pair of columns as a matrix of colours and numbers.

    frame: a row for each architecture, a column for each score; a pair counts the rows in which both have a value.
    """
    from nasplat.report.picture import Picture

    if frame.shape[1] < 2:
        raise NasplatError(f"agreement needs two scores or more; the table has {frame.shape[1]}")
    names, found = list(frame.columns), frame.corr("spearman").to_numpy()
    size = 2.0 + 0.55 * len(names)
    figure = Picture(size + 0.8, size)
    axes = figure.subplots()
    image = axes.imshow(found, cmap="RdBu", vmin=-1, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), names)
    for (row, column), value in np.ndenumerate(found):
        if np.isfinite(value):
            dark = abs(value) > 0.6
            axes.text(
                column, row, f"{value:.2f}", ha="center", va="center", color="w" if dark else "k", size=7
            )
    figure.colorbar(image, label="Spearman's rank correlation", shrink=0.8)
    if path is not None:
        figure.write(path)
    return figure


def plot_calibration(
    truth: ArrayLike, mean: ArrayLike, std: ArrayLike, *, label: str = "", path: str | Path | None = None
) -> Figure:
    """Predictions with their standard deviations against the truth, and how many lie as near as they say.

    truth, mean and std (n,), in the unit that `label` names. The second panel holds the share of architectures within
    k standard deviations, beside that of a normal distribution.
    """
    from nasplat.report.picture import Picture

    truth, mean, std = (np.asarray(numbers, np.float64) for numbers in (truth, mean, std))
    if not len(truth) or len(truth) != len(mean) or len(mean) != len(std):
        raise NasplatError(
            f"{len(truth)} truths, {len(mean)} means, {len(std)} deviations: expected as many of each"
        )
    figure = Picture(9.6, 4.4)
    left, right = figure.subplots(1, 2)
    left.errorbar(truth, mean, yerr=std, fmt="o", ms=4, lw=0.8, alpha=0.7)
    ends = [min(truth.min(), mean.min()), max(truth.max(), mean.max())]
    left.plot(ends, ends, color="k", lw=0.8, ls=":")
    left.set_xlabel(f"measured {label}".strip())
    left.set_ylabel("predicted, with one standard deviation")
    away = np.abs(truth - mean) / np.maximum(std, np.finfo(np.float64).tiny)
    widths = np.linspace(0, 3, 61)
    right.plot(widths, [(away <= k).mean() for k in widths], label="predictions")
    right.plot(widths, [erf(k / 2**0.5) for k in widths], "k:", label="a normal distribution")
    right.set_xlabel("standard deviations")
    right.set_ylabel("share of architectures within")
    right.legend(frameon=False)
    if path is not None:
        figure.write(path)
    return figure
