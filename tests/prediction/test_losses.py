"""Losses against loops over pairs, and the Kendall surrogate against scipy."""

from __future__ import annotations

import math
from itertools import combinations, permutations

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau
from torch import Tensor

from nasplat.prediction.losses import (
    LOSSES,
    diffkendall,
    hinge,
    kendall,
    logistic,
    mse,
    outputs,
    relation,
    scores_of,
)

N = 7


@pytest.fixture
def x() -> Tensor:
    return torch.randn(N, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture
def y() -> Tensor:
    """Targets with a tie."""
    return torch.tensor([0.3, -1.0, 0.3, 2.0, 0.5, -0.7, 1.1], dtype=torch.float64)


def ordered(y: Tensor) -> list[tuple[int, int]]:
    """Pairs (better, worse)."""
    return [(i, j) for i, j in permutations(range(len(y)), 2) if y[i] > y[j]]


def test_mse_is_the_mean_of_squares(x: Tensor, y: Tensor) -> None:
    assert float(mse(x, y)) == pytest.approx(
        sum((float(a) - float(b)) ** 2 for a, b in zip(x, y, strict=True)) / N
    )


def test_logistic_averages_over_pairs_that_are_not_tied(x: Tensor, y: Tensor) -> None:
    terms = [math.log1p(math.exp(-float(x[i] - x[j]))) for i, j in ordered(y)]
    assert float(logistic(x, y)) == pytest.approx(np.mean(terms))


def test_hinge_asks_for_a_margin_of_a_tenth(x: Tensor, y: Tensor) -> None:
    assert float(hinge(x, y)) == pytest.approx(
        np.mean([max(0.0, 0.1 - float(x[i] - x[j])) for i, j in ordered(y)])
    )
    assert float(hinge(y, y)) == 0
    assert float(hinge(y * 0.1, y)) == pytest.approx(
        np.mean([max(0.0, 0.1 - 0.1 * float(y[i] - y[j])) for i, j in ordered(y)])
    )


def test_relation_is_the_cross_entropy_of_two_softmaxes(x: Tensor, y: Tensor) -> None:
    both = torch.stack([x, x.flip(0)], 1)
    terms = []
    for i, j in permutations(range(N), 2):
        odds = torch.log_softmax(torch.stack([both[i, 0] + both[j, 1], torch.zeros(()).double()]), 0)
        terms.append(-float((torch.softmax(torch.stack([y[i], y[j]]), 0) * odds).sum()))
    assert float(relation(both, y)) == pytest.approx(np.mean(terms))


def test_scores_of_relations_rank_as_mean_log_odds_against_any_opponents() -> None:
    both = torch.randn(9, 2, generator=torch.Generator().manual_seed(1))
    opponents = torch.randn(5, 2, generator=torch.Generator().manual_seed(2))
    first = both[:, :1] + opponents[:, 1]
    second = opponents[:, :1] + both[:, 1]  # the opponent's odds
    odds = (first.mean(1) - second.mean(0)) / 2
    assert scores_of(both).argsort().tolist() == odds.argsort().tolist()
    assert torch.equal(scores_of(both[:, 0]), both[:, 0])
    assert [outputs(name) for name in ("relation", "mse")] == [2, 1]


def test_diffkendall_as_published_sums_ordered_and_counts_unordered_pairs(x: Tensor, y: Tensor) -> None:
    def k(d: Tensor) -> float:
        return float(torch.sigmoid(0.5 * d) - torch.sigmoid(-0.5 * d))

    total = sum(k(x[i] - x[j]) * k(y[i] - y[j]) for i, j in permutations(range(N), 2))
    assert float(diffkendall(x, y)) == pytest.approx(-total / (N * (N - 1) / 2))
    far = torch.arange(4.0) * 1e6
    assert float(diffkendall(far, far)) == pytest.approx(-2)  # the trap: twice what a correlation can be


def test_kendall_is_a_loop_over_unordered_pairs_and_stays_within_one(x: Tensor, y: Tensor) -> None:
    total = sum(
        math.tanh(2.5 * float(x[i] - x[j])) * float(torch.sign(y[i] - y[j]))
        for i, j in combinations(range(N), 2)
    )
    assert float(kendall(x, y)) == pytest.approx(-total / math.comb(N, 2))
    far = torch.arange(4.0) * 1e6
    assert float(kendall(far, far)) == pytest.approx(-1)


def test_the_kendall_surrogate_tends_to_scipys_tau_as_it_gets_sharper(x: Tensor) -> None:
    y = torch.randperm(N, generator=torch.Generator().manual_seed(3)).double()
    tau = float(kendalltau(x.numpy(), y.numpy())[0])
    errors = [abs(-float(kendall(x, y, a)) - tau) for a in (1.0, 5.0, 50.0, 5000.0)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-6


@pytest.mark.parametrize("name", LOSSES)
def test_a_step_down_the_gradient_makes_a_loss_smaller(name: str, x: Tensor, y: Tensor) -> None:
    loss = LOSSES[name]  # type: ignore[index]
    start = (torch.stack([x, x.flip(0)], 1) if name == "relation" else x).requires_grad_()
    (grad,) = torch.autograd.grad(loss(start, y), start)
    with torch.no_grad():
        assert float(loss(start - 1e-3 * grad, y)) < float(loss(start, y))


@pytest.mark.parametrize("name", sorted({*LOSSES} - {"mse"}))
def test_one_sample_and_equal_targets_give_losses_that_are_numbers(name: str) -> None:
    for n in (1, 3):
        x = torch.zeros(n, 2) if name == "relation" else torch.zeros(n)
        assert math.isfinite(float(LOSSES[name](x, torch.ones(n))))  # type: ignore[index]
