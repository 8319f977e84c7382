"""Balanced probabilities: uniform load, what scores say otherwise, and the limit of plain alternation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasplat.errors import NasplatError
from nasplat.supernet.mixtures.balancing import Table, balanced, softmax


@st.composite
def logits(draw: st.DrawFn) -> Table:
    """Scores of up to 12 rows and 5 experts, random, with ties, or alike in all rows; at several temperatures."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    rows, experts = draw(st.integers(1, 12)), draw(st.integers(1, 5))
    scores = draw(
        st.sampled_from(
            [
                rng.random((rows, experts)),
                rng.integers(0, 2, (rows, experts)).astype(float),
                np.tile(rng.random(experts), (rows, 1)) + 0.01 * rng.random((rows, 1)),
            ]
        )
    )
    temperature: float = draw(st.sampled_from([0.0, 1.0, 10.0, 100.0, 1000.0]))
    return temperature * np.asarray(scores, dtype=np.float64)


@settings(max_examples=80, deadline=None)
@given(logits())
def test_every_expert_has_the_same_load_and_every_row_sums_to_one(x: Table) -> None:
    p = balanced(x)
    np.testing.assert_allclose(p.mean(0), 1 / x.shape[1], rtol=1.001e-4)
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-12)
    assert (p >= 0).all()


@settings(max_examples=40, deadline=None)
@given(logits())
def test_ratios_between_experts_change_alike_in_all_rows(x: Table) -> None:
    x = x / 10  # no probability is so small that its logarithm is inexact
    moved = np.log(balanced(x)) - x
    offsets = moved - moved.mean(1, keepdims=True)
    np.testing.assert_allclose(offsets, np.broadcast_to(offsets[0], offsets.shape), atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(logits(), st.integers(0, 10**6))
def test_permuting_rows_and_experts_permutes_the_probabilities(x: Table, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, experts = rng.permutation(len(x)), rng.permutation(x.shape[1])
    direct, permuted = balanced(x, 1e-9), balanced(x[rows][:, experts], 1e-9)
    np.testing.assert_allclose(permuted, direct[rows][:, experts], atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(logits())
def test_balancing_what_is_balanced_changes_nothing(x: Table) -> None:
    p = balanced(x / 10, 1e-9)
    np.testing.assert_allclose(balanced(np.log(p), 1e-9), p, atol=1e-6)


def alternated(x: Table) -> Table:
    """Plain alternation, as in the paper."""
    p = softmax(x)
    for _ in range(20_000):
        p = p / p.mean(0)
        p = p / p.sum(1, keepdims=True)
    return p


@pytest.mark.parametrize("temperature", [1, 10, 60])
def test_the_limit_is_that_of_dividing_by_marginals_and_rows_in_turn(temperature: float) -> None:
    x = temperature * np.random.default_rng(1).random((9, 4))
    np.testing.assert_allclose(balanced(x, 1e-10), alternated(x), atol=1e-8)


def test_two_rows_that_want_the_same_expert_share_it_by_their_odds() -> None:
    """Closed form: p = 1 / (1 + exp(-d / 2)) for the row that wants it more, d the difference of the logits' gaps."""
    p = balanced(np.array([[3.0, 0.0], [1.0, 0.0]]), 1e-12)
    wins = 1 / (1 + np.exp(-(3.0 - 1.0) / 2))
    np.testing.assert_allclose(p, [[wins, 1 - wins], [1 - wins, wins]], rtol=1e-9)


def test_scores_so_far_apart_that_their_exponentials_vanish_are_balanced() -> None:
    x = np.array([[5000.0, 0.0], [5000.0, 10.0], [5000.0, 20.0]])
    np.testing.assert_allclose(balanced(x).mean(0), [0.5, 0.5], rtol=1e-4)


def test_scores_that_are_not_finite_are_refused() -> None:
    with pytest.raises(NasplatError, match="scores to balance are not finite"):
        balanced(np.array([[0.0, np.nan]]))
