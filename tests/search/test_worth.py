"""One number for each trial."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import FrozenTrial
from scipy.stats import norm

from nasplat.pareto import nondominated
from nasplat.search import freeze
from nasplat.search.worth import worths

RNG = np.random.default_rng


def trial(number: int, values: list[float], **constraints: float) -> FrozenTrial:
    return freeze(
        number=number, state="complete", params={}, distributions={}, values=values, constraints=constraints
    )


@pytest.mark.parametrize(("direction", "sign"), [("maximize", 1.0), ("minimize", -1.0)])
def test_one_objective_becomes_normal_scores(direction: str, sign: float) -> None:
    values = [3.0, -1000.0, 2.5, 2.5]
    found = worths([trial(i, [sign * v]) for i, v in enumerate(values)], [direction], RNG(0))
    np.testing.assert_allclose(norm.cdf(found), [0.875, 0.125, 0.5, 0.5])


def test_infeasible_trials_come_last_in_the_order_of_their_violations() -> None:
    trials = [
        trial(0, [9.0], size=2.0, time=-5.0),
        trial(1, [1.0], size=0.0),
        trial(2, [99.0], size=1.0, time=2.0),
        trial(3, [4.0], size=-1.0),
    ]
    assert np.argsort(-worths(trials, ["maximize"], RNG(0))).tolist() == [3, 1, 0, 2]
    alone = [trial(0, [9.0], size=2.0), trial(1, [1.0], size=1.0)]
    assert np.argsort(-worths(alone, ["maximize"], RNG(0))).tolist() == [1, 0]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 5)] * 2), min_size=1, max_size=12), st.integers(0, 9))
def test_the_best_of_several_objectives_is_one_that_nothing_dominates(
    rows: list[tuple[int, int]], seed: int
) -> None:
    values = [[float(a), float(b)] for a, b in rows]
    directions = ["maximize", "minimize"]
    found = worths([trial(i, v) for i, v in enumerate(values)], directions, RNG(seed))
    assert nondominated(values, directions)[int(np.argmax(found))]


def test_other_weights_find_other_parts_of_a_concave_front() -> None:
    t = np.linspace(0, np.pi / 2, 21)
    trials = [
        trial(i, [float(a), float(b)]) for i, (a, b) in enumerate(zip(np.cos(t), np.sin(t), strict=True))
    ]
    best = {int(np.argmax(worths(trials, ["minimize", "minimize"], RNG(seed)))) for seed in range(40)}
    # A weighted sum would find the two ends only: of minimised objectives, this arc bulges away from the origin.
    assert len(best) > 5


def test_the_scale_of_objectives_does_not_matter() -> None:
    rows = RNG(0).normal(size=(9, 2))
    small = [trial(i, row.tolist()) for i, row in enumerate(rows)]
    large = [trial(i, (row * [1000, 1] + [7, 0]).tolist()) for i, row in enumerate(rows)]
    both = ["minimize", "maximize"]
    np.testing.assert_allclose(worths(small, both, RNG(3)), worths(large, both, RNG(3)))
