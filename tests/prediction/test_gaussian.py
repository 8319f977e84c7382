"""The Gaussian process against scikit-learn's with the same kernel, and against finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import check_grad
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern

from nasplat.prediction.gaussian import JITTER, GaussianProcess, _distances, _misfit

RNG = np.random.default_rng(0)
BLOCKS = {"a": RNG.normal(size=(30, 2)), "b": RNG.normal(size=(30, 3))}
NEW = {"a": RNG.normal(size=(7, 2)), "b": RNG.normal(size=(7, 3))}
Y = np.sin(BLOCKS["a"][:, 0]) + BLOCKS["b"][:, 1]


def test_posterior_and_likelihood_are_those_of_scikit_learn() -> None:
    process = GaussianProcess.fit([["a"]], {"a": BLOCKS["a"]}, Y)
    variance, length, noise = np.exp(process.logs)
    kernel = ConstantKernel(variance) * Matern(length, nu=1.5)
    other = GaussianProcessRegressor(kernel, alpha=noise + JITTER, optimizer=None).fit(BLOCKS["a"], Y)
    mean, deviation = other.predict(NEW["a"], return_std=True)
    found = process.predict({"a": NEW["a"]})
    np.testing.assert_allclose(found[0], mean, rtol=1e-8)
    np.testing.assert_allclose(found[1], deviation, rtol=1e-6)
    misfit, _ = _misfit([["a"]], process.logs, _distances({"a": BLOCKS["a"]}, {"a": BLOCKS["a"]}), Y)
    constant = 0.5 * len(Y) * np.log(2 * np.pi)
    assert misfit + constant == pytest.approx(-other.log_marginal_likelihood())


@pytest.mark.parametrize("terms", [[["a"]], [["a"], ["b"]], [["a", "b"], ["b"]]])
def test_slopes_are_those_of_finite_differences(terms: list[list[str]]) -> None:
    distances = _distances(BLOCKS, BLOCKS)
    logs = RNG.normal(size=sum(1 + len(term) for term in terms) + 1) / 2
    value, slope = (lambda x, part=part: _misfit(terms, x, distances, Y)[part] for part in (0, 1))
    assert check_grad(value, slope, logs) < 1e-4


def test_a_process_is_sure_where_it_has_learned_and_doubts_far_away() -> None:
    process = GaussianProcess.fit([["a"], ["b"]], BLOCKS, Y)
    far = {name: table + 100 for name, table in BLOCKS.items()}
    assert process.predict(BLOCKS)[1].max() < process.predict(far)[1].min()


def test_equal_columns_can_be_learned_from() -> None:
    process = GaussianProcess.fit([["a"]], {"a": np.ones((5, 2))}, np.arange(5.0))
    assert np.isfinite(process.predict({"a": np.ones((1, 2))})[0]).all()


def test_arrays_hold_all_of_the_process() -> None:
    terms = [["a", "b"], ["b"]]
    process = GaussianProcess.fit(terms, BLOCKS, Y)
    again = GaussianProcess.in_arrays(terms, process.arrays())
    np.testing.assert_array_equal(again.predict(NEW), process.predict(NEW))
