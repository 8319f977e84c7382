"""Normal scores against ranks counted by hand and the normal distribution of the standard library."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasplat.errors import NasplatError
from nasplat.prediction.normal import NormalScores, checked_targets

NUMBERS = st.lists(st.integers(-1000, 1000).map(float), min_size=2, max_size=30, unique=True)


def test_scores_are_normal_quantiles_of_mean_ranks() -> None:
    found = NormalScores.of([3.0, 1.0, 7.0, 3.0]).scores_of([1.0, 3.0, 7.0])
    expected = [NormalDist().inv_cdf((rank - 0.5) / 4) for rank in (1, 2.5, 4)]
    np.testing.assert_allclose(found, expected)


@settings(max_examples=50, deadline=None)
@given(NUMBERS, st.floats(-2000, 2000))
def test_the_map_has_an_inverse_inside_and_outside_of_its_knots(numbers: list[float], x: float) -> None:
    units = NormalScores.of(numbers)
    assert float(units.numbers_of(units.scores_of(x))) == pytest.approx(x, rel=1e-6, abs=1e-6)


@settings(max_examples=50, deadline=None)
@given(NUMBERS)
def test_the_map_is_strictly_increasing(numbers: list[float]) -> None:
    grid = np.linspace(min(numbers) - 5, max(numbers) + 5, 40)
    assert (np.diff(NormalScores.of(numbers).scores_of(grid)) > 0).all()


def test_equal_training_numbers_give_that_number() -> None:
    units = NormalScores.of([4.0, 4.0])
    assert units.numbers_of([-1.0, 0.0, 2.0]).tolist() == [4.0] * 3


@pytest.mark.parametrize("targets", [[1.0], [1.0, np.nan], [[1.0, 2.0]]])
def test_targets_that_nothing_can_be_learned_from_are_refused(targets: list[float]) -> None:
    with pytest.raises(NasplatError, match=r"give one number|leave such samples out"):
        checked_targets(len(targets), targets)
