"""One order out of several scores."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasplat.errors import NasplatError
from nasplat.prediction import AGGREGATES, aggregate

BOTH = {"up": "maximize", "down": "minimize"}
tables = st.lists(st.tuples(*[st.integers(0, 6)] * 3), min_size=2, max_size=12)


def frame(rows: list[tuple[int, ...]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["up", "down", "side"], dtype=float)


def rank(column: list[float], value: float) -> float:
    """By counting: those below, and half of the others that are equal, and itself."""
    below, equal = sum(x < value for x in column), sum(x == value for x in column)
    return below + (equal + 1) / 2


@given(tables)
@settings(max_examples=30, deadline=None)
def test_log_ranks_equal_the_sum_counted_by_hand(rows: list[tuple[int, ...]]) -> None:
    up, down = [float(r[0]) for r in rows], [-float(r[1]) for r in rows]
    n = len(rows)
    by_hand = [math.log(rank(up, u) / n) + math.log(rank(down, d) / n) for u, d in zip(up, down, strict=True)]
    np.testing.assert_allclose(aggregate(frame(rows), BOTH), by_hand)


@given(tables)
@settings(max_examples=30, deadline=None)
def test_a_vote_counts_the_pairs_that_most_scores_win(rows: list[tuple[int, ...]]) -> None:
    directions = {"up": "maximize", "down": "maximize", "side": "maximize"}
    shares = []
    for mine in rows:
        margins = [sum(np.sign(a - b) for a, b in zip(mine, other, strict=True)) for other in rows]
        shares.append(sum(0.5 + 0.5 * np.sign(m) for m in margins) - 0.5)  # not against itself
    np.testing.assert_allclose(aggregate(frame(rows), directions, "vote"), np.array(shares) / (len(rows) - 1))


@given(tables)
@settings(max_examples=20, deadline=None)
def test_every_aggregate_keeps_to_the_best_in_all_and_ignores_monotone_changes(
    rows: list[tuple[int, ...]],
) -> None:
    rows = [*rows, (7, -1, 0)]
    for how in AGGREGATES:
        values = aggregate(frame(rows), BOTH, how)
        assert values.idxmax() == len(rows) - 1
        stretched = frame(rows).assign(up=lambda t: np.exp(t["up"]))
        np.testing.assert_allclose(aggregate(stretched, BOTH, how), values)


def test_one_weight_alone_orders_as_its_score_does() -> None:
    table = frame([(1, 5, 0), (3, 1, 0), (2, 9, 0)])
    assert aggregate(table, BOTH, {"down": 2.0}).tolist() == [2 / 3, 1.0, 1 / 3]


def test_what_has_no_value_is_ranked_last() -> None:
    table = pd.DataFrame({"up": [1.0, math.nan, 3.0]})
    assert aggregate(table, {"up": "maximize"}, "mean_rank").tolist() == [2 / 3, 1 / 3, 1.0]
    assert aggregate(table, {"up": "minimize"}, "mean_rank").tolist() == [1.0, 1 / 3, 2 / 3]


@pytest.mark.parametrize(
    ("directions", "how", "message"),
    [
        ({"upp": "maximize"}, "vote", "no score 'upp' in the table: did you mean 'up'"),
        (BOTH, "votes", "unknown aggregate 'votes': did you mean 'vote'"),
        (BOTH, {"side": 1.0}, "a weight for 'side', which has no direction"),
        (BOTH, {"up": 0.0}, "expected none below 0, and one above"),
    ],
)
def test_mistakes_are_told_in_one_line(directions: dict[str, str], how: object, message: str) -> None:
    with pytest.raises(NasplatError, match=message):
        aggregate(frame([(1, 2, 3), (2, 3, 4)]), directions, how)  # type: ignore[arg-type]
