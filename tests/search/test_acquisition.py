"""Acquisition functions against what they stand for."""

from __future__ import annotations

import numpy as np
import pytest

from nasplat.search.acquisition import ACQUISITIONS, BETA, ei, thompson, ucb

RNG = np.random.default_rng
MEAN, STD = np.array([0.0, 1.0, -2.0]), np.array([1.0, 0.5, 3.0])


def test_expected_improvement_is_the_mean_of_what_draws_gain() -> None:
    draws = RNG(0).normal(MEAN, STD, (200_000, 3))
    np.testing.assert_allclose(ei(MEAN, STD, 0.7, RNG(0)), np.maximum(draws - 0.7, 0).mean(0), rtol=0.02)


def test_without_doubt_the_improvement_is_the_difference() -> None:
    assert ei(np.array([2.0, 1.0, 0.5]), np.zeros(3), 1.0, RNG(0)).tolist() == [1.0, 0.0, 0.0]


def test_thompson_draws_each_from_its_own_normal_distribution() -> None:
    draws = np.array([thompson(MEAN, STD, 0.0, RNG(seed)) for seed in range(4000)])
    np.testing.assert_allclose(draws.mean(0), MEAN, atol=0.15)
    np.testing.assert_allclose(draws.std(0), STD, rtol=0.05)
    np.testing.assert_allclose(np.corrcoef(draws.T), np.eye(3), atol=0.06)


def test_the_upper_bound_lies_deviations_above_the_mean() -> None:
    np.testing.assert_allclose((ucb(MEAN, STD, 0.0, RNG(0)) - MEAN) / STD, BETA)


@pytest.mark.parametrize("name", ACQUISITIONS)
def test_without_doubt_every_acquisition_prefers_the_largest_mean(name: str) -> None:
    assert ACQUISITIONS[name](MEAN, np.zeros(3), 0.0, RNG(0)).argmax() == 1
