"""The fits behind latency predictors against closed forms and second routes."""

from __future__ import annotations

import numpy as np
import pytest

from nasplat.prediction import Sample
from nasplat.prediction.blocks import Blocks
from nasplat.prediction.costs import BASE, Lesson, Prior, best_centre, bounded, learned_prior, within
from nasplat.space import Arch

RNG = np.random.default_rng(0)
X = (RNG.random((60, 6)) < 0.5).astype(float)
Y = 5 + X @ np.arange(6.0)


def sample(**values: int | str) -> Sample:
    return Sample(Arch(values), np.zeros(1, np.float32))


def test_choices_of_many_numbers_are_standardised_and_the_rest_are_blocks() -> None:
    samples = [sample(side=128 + 4 * i, kernel=3 if i % 2 else 5) for i in range(12)]
    blocks = Blocks.of(samples)
    assert blocks.names == ["kernel=3", "kernel=5", "side"]
    x = blocks.columns(samples)
    np.testing.assert_allclose([x[:, 2].mean(), x[:, 2].std()], [0, 1], atol=1e-12)
    np.testing.assert_array_equal(x[:, 0], [i % 2 for i in range(12)])
    assert Blocks.from_json(blocks.to_json()) == blocks


def test_a_choice_that_is_not_active_has_no_block() -> None:
    samples = [sample(depth=1), sample(depth=2, kernel=3)]
    np.testing.assert_array_equal(Blocks.of(samples).columns(samples), [[1, 0, 0], [0, 1, 1]])


@pytest.mark.parametrize("pairs", [0.0, 0.5])
def test_costs_predict_as_the_gaussian_process_of_their_kernel(pairs: float) -> None:
    lesson, variance = Lesson.of(X[:40], Y[:40]), np.linspace(0.01, 0.1, 40)
    costs = lesson.solve(Prior(pairs, 1.0), variance)
    z, new = X[:40] / lesson.scale, X[40:] / lesson.scale
    gram, cross = z @ z.T, new @ z.T
    kernel, between = BASE + gram + pairs * gram**2, BASE + cross + pairs * cross**2
    expected = between @ np.linalg.solve(kernel + np.diag(variance), lesson.t) * lesson.unit
    np.testing.assert_allclose(costs.at(X[40:]), expected, rtol=1e-8)


def test_evidence_is_that_of_the_normal_distribution() -> None:
    from scipy.stats import multivariate_normal

    lesson = Lesson.of(X, Y * np.exp(0.1 * RNG.standard_normal(60)))
    guess = lesson.guess(lesson.solve(Prior(0.0, 0.01), 0.01 * lesson.t**2))
    found = {}
    for noise in (0.001, 0.01, 0.1):
        matrix = lesson.kernel(0.0) / np.outer(guess, guess) + noise * np.eye(60)
        t = lesson.t / guess
        scale = t @ np.linalg.solve(matrix, t) / 60
        found[noise] = multivariate_normal(np.zeros(60), scale * matrix).logpdf(t)
    chosen = learned_prior(lesson, (0.0,)).noise
    best = max(found, key=lambda noise: found[noise])
    assert best / 4 < chosen < best * 4


def test_the_bounded_fit_finds_what_most_latencies_agree_on() -> None:
    wrong = Y.copy()
    wrong[::4] *= 3
    costs = bounded(Lesson.of(X, wrong), Prior(0.0, 0.01), 0.05)
    np.testing.assert_allclose(costs.at(X), Y, rtol=0.02)


def test_the_best_centre_serves_two_modes_and_stays_where_nothing_is_gained() -> None:
    ratios = 1 / np.where(np.arange(100) < 60, 1.0, 1.16)  # of a prediction that follows the first mode
    factor, share = best_centre(ratios, 0.1)
    assert within(ratios, 0.1) == pytest.approx(0.6)
    assert 1.0 < factor < 1.1
    assert share == 1.0
    assert best_centre(np.ones(50), 0.1) == (1.0, 1.0)
