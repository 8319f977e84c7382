"""Cuts against brute force over sets, and planted groups beyond it."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nasplat.supernet.mixtures.min_cut import EXACT, min_cut


def symmetric(n: int, numbers: list[float]) -> Tensor:
    found = torch.zeros(n, n)
    for (i, j), number in zip(combinations(range(n), 2), numbers, strict=True):
        found[i, j] = found[j, i] = number
    return found


@st.composite
def matrices(draw: st.DrawFn) -> Tensor:
    """Distances, some of them unknown."""
    n = draw(st.integers(2, 6))
    number = st.one_of(st.floats(0, 2, width=32), st.just(math.nan))
    pairs = n * (n - 1) // 2
    return symmetric(n, draw(st.lists(number, min_size=pairs, max_size=pairs)))


def within(distances: Tensor, group: tuple[int, ...]) -> float:
    pairs = [float(distances[i, j]) for i, j in combinations(group, 2)]
    return sum(d for d in pairs if not math.isnan(d))


@settings(max_examples=60, deadline=None)
@given(distances=matrices())
def test_no_other_partition_leaves_less_distance_within(distances: Tensor) -> None:
    cut, n = min_cut(distances), len(distances)
    assert sorted(cut.groups[0] + cut.groups[1]) == list(range(n))
    assert cut.groups[0][0] == 0
    assert cut.groups[1]
    left = sum(within(distances, group) for group in cut.groups)
    others = [
        within(distances, group) + within(distances, tuple(k for k in range(n) if k not in group))
        for size in range(1, n)
        for group in combinations(range(n), size)
    ]
    assert left == pytest.approx(min(others), abs=1e-6)
    total = within(distances, tuple(range(n)))
    assert cut.score == pytest.approx(2 * (total - left) / n**2, abs=1e-6)


def test_the_option_that_flips_stands_alone() -> None:
    assert min_cut(torch.tensor([[0.0, 0, 2], [0, 0, 2], [2, 2, 0]])).groups == ((0, 1), (2,))


def test_options_that_share_nothing_are_halved_and_worth_nothing() -> None:
    cut = min_cut(torch.full((4, 4), math.nan))
    assert (len(cut.groups[0]), len(cut.groups[1]), cut.score) == (2, 2, 0.0)


@pytest.mark.parametrize("n", [3, 12, EXACT + 6, 36])
def test_many_options_of_two_kinds_are_told_apart_and_number_is_no_merit(n: int) -> None:
    kinds = torch.arange(n) % 2
    distances = 0.1 + 1.5 * (kinds[:, None] != kinds).float()
    cut = min_cut(distances)
    assert {tuple(int(kinds[k]) for k in group)[:1] for group in cut.groups} == {(0,), (1,)}
    assert all(len({int(kinds[k]) for k in group}) == 1 for group in cut.groups)
    assert cut.score == pytest.approx(1.6 * 2 * (n // 2) * (n - n // 2) / n**2)


def test_many_options_that_share_nothing_are_halved_in_order() -> None:
    n = EXACT + 1
    assert min_cut(torch.full((n, n), math.nan)).groups == (tuple(range(n // 2)), tuple(range(n // 2, n)))
