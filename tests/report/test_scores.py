"""Pictures of scores and predictors: the numbers in them are the right ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from nasplat.errors import NasplatError
from nasplat.report import plot_agreement, plot_calibration


def test_the_matrix_shows_rank_correlations_over_rows_that_both_have(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(20, 3)), columns=["a", "b", "c"])
    frame.loc[3, "b"] = np.nan
    axes = plot_agreement(frame, path=tmp_path / "agreement.png").axes[0]
    shown = np.array([float(text.get_text()) for text in axes.texts]).reshape(3, 3)
    both = frame.dropna(subset=["b"])
    assert shown[0, 1] == pytest.approx(spearmanr(both["a"], both["b"]).statistic, abs=0.005)
    np.testing.assert_array_equal(shown, shown.T)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c"]
    assert (tmp_path / "agreement.png").read_bytes().startswith(b"\x89PNG")


def test_the_curve_counts_the_architectures_within_their_own_deviations() -> None:
    axes = plot_calibration([0.0, 0.0, 0.0, 0.0], [0.5, 1.5, -2.5, 0.0], [1.0, 1.0, 1.0, 1.0]).axes[1]
    widths, shares = axes.lines[0].get_data()
    at = dict(zip(np.round(np.asarray(widths), 2), np.asarray(shares), strict=True))
    assert [at[k] for k in (0.0, 0.5, 1.0, 2.0, 3.0)] == [0.25, 0.5, 0.5, 0.75, 1.0]
    normal = dict(zip(np.round(np.asarray(widths), 2), np.asarray(axes.lines[1].get_ydata()), strict=True))
    assert normal[1.0] == pytest.approx(0.6827, abs=1e-4)


def test_what_cannot_be_drawn_is_told_in_one_line() -> None:
    with pytest.raises(NasplatError, match="needs two scores or more; the table has 1"):
        plot_agreement(pd.DataFrame({"a": [1.0, 2.0]}))
    with pytest.raises(NasplatError, match="2 truths, 1 means, 2 deviations"):
        plot_calibration([1.0, 2.0], [1.0], [0.1, 0.1])
