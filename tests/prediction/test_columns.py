"""Columns on one scale: logarithms, robust z-scores, and what is not known."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy.stats import iqr, norm

from nasplat.prediction.columns import LIMIT, Scale, as_json, from_json, scaled, scales_of, table

NAN = math.nan


def test_values_that_are_never_negative_are_taken_as_logarithms() -> None:
    values = np.exp(np.linspace(-3, 200, 101))
    scale = Scale.of(values)
    logs = np.log(values)
    expected = (logs - np.median(logs)) / (iqr(logs) / (2 * norm.ppf(0.75)))
    np.testing.assert_allclose(scale(values), expected, rtol=1e-3)
    assert scale(np.array([0.0])) == scale(values[:1])  # a dead layer counts as the smallest value seen


def test_signed_values_are_robust_z_scores_that_outliers_do_not_move() -> None:
    values = np.concatenate([np.random.default_rng(0).normal(3, 2, 2001), [-1e9]])
    scale = Scale.of(values)
    assert scale.floor is None
    assert (scale.centre, scale.width) == pytest.approx((3, 2), rel=0.05)
    assert scale(values)[-1] == -LIMIT


def test_what_is_not_finite_or_constant_gives_zeros() -> None:
    assert Scale.of(np.array([2.0, NAN, math.inf]))(np.array([NAN, math.inf, 2.0])).tolist() == [0, 0, 0]
    assert Scale.of(np.array([NAN]))(np.array([-4.0, NAN])).tolist() == [-4, 0]


def test_every_score_stands_beside_whether_it_was_known() -> None:
    rows = [{"a": -1.0}, {"a": 0.0, "b": 2.0}, {"a": 1.0, "b": NAN}]
    scales = scales_of(rows)
    found = scaled(table(rows, list(scales)), scales)
    assert found.shape == (3, 4)
    assert found[:, 1].tolist() == [1, 1, 1]
    assert found[:, 3].tolist() == [0, 1, 0]
    assert found[0, 0] == -found[2, 0] < 0
    assert scaled(table([{}, {}], list(scales)), scales).tolist() == [[0] * 4] * 2


def test_scales_survive_json() -> None:
    scales = scales_of([{"a": -1.0, "b": 1e60}, {"a": 0.5, "b": 1e-7}])
    assert from_json(json.loads(json.dumps(as_json(scales)))) == scales
