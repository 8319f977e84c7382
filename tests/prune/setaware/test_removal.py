"""Removal: the least worth goes first, as far as the cost asks."""

from __future__ import annotations

import numpy as np
import pytest

from nasplat.channels import channel_spec
from nasplat.errors import NasplatError
from nasplat.prune.setaware import Steps, Units, remove

from .tiny import EXAMPLE, residual

UNITS = Units.of(channel_spec(residual(4), EXAMPLE))


def units_left(kept: np.ndarray) -> float:
    return float(UNITS.there(kept).sum())


@pytest.mark.parametrize("steps", [1, 4, 20])
def test_with_a_fixed_worth_the_units_of_greatest_worth_stay(steps: int) -> None:
    worth = np.random.default_rng(0).permutation(len(UNITS)) + 1.0
    kept = remove(UNITS, lambda kept: worth, units_left, 7, Steps(steps, per_cost=False))
    assert set(worth[UNITS.there(kept)]) == {6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0}


def test_what_is_judged_anew_counts() -> None:
    """Units 4 and 5 stand in for each other: either alone may go."""

    def judge(kept: np.ndarray) -> np.ndarray:
        worth = np.full(len(UNITS), 5.0)
        worth[[4, 5]] = 1.0 if UNITS.there(kept)[[4, 5]].all() else 9.0
        return worth

    anew = UNITS.there(remove(UNITS, judge, units_left, 10, Steps(10, per_cost=False)))
    once = UNITS.there(remove(UNITS, judge, units_left, 10, Steps(1, per_cost=False)))
    assert anew[[4, 5]].sum() == 1
    assert once[[4, 5]].sum() == 0


def test_worth_counts_for_each_bit_of_cost() -> None:
    dear = int(UNITS.group_of[0])
    shares = np.where(UNITS.group_of == dear, 3.0, 1.0)
    kept = remove(
        UNITS, lambda kept: shares * [1.0] * 0.5, lambda kept: float(shares @ UNITS.there(kept)), 18, Steps(1)
    )
    assert float(shares @ UNITS.there(kept)) <= 18
    flat = np.ones(len(UNITS))
    kept = remove(UNITS, lambda kept: flat, lambda kept: float(shares @ UNITS.there(kept)), 18, Steps(1))
    gone = UNITS.group_of[~UNITS.there(kept)]
    assert set(gone) == {dear}


def test_a_cost_that_cannot_be_met_says_the_least_that_can() -> None:
    with pytest.raises(NasplatError, match="the least is 2"):
        remove(UNITS, lambda kept: np.ones(len(UNITS)), units_left, 1)


def test_a_cost_that_is_met_already_changes_nothing() -> None:
    assert remove(UNITS, lambda kept: np.ones(len(UNITS)), units_left, 100).all()


def test_what_seems_cheap_is_tried_before_it_goes() -> None:
    """The judge takes units 3 and 4 for worthless; tried, unit 4 is not."""
    seems = np.full(len(UNITS), 5.0)
    seems[[3, 4]] = [0.2, 0.1]
    asked: list[int] = []

    def check(kept: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        asked.extend(candidates.tolist())
        return np.where(candidates == 4, 9.0, seems[candidates])

    kept = remove(UNITS, lambda kept: seems.copy(), units_left, 11, Steps(1, per_cost=False, tried=2), check)
    assert sorted(asked) == [3, 4]
    assert np.flatnonzero(~UNITS.there(kept)).tolist() == [3]
