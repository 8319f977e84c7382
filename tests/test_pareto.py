"""Fronts, ranks, hypervolume and knee against brute force and hand-made cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasplat.pareto import front_ranks, hypervolume, knee, nondominated

POINTS = st.integers(1, 4).flatmap(
    lambda m: st.tuples(
        st.lists(st.lists(st.integers(0, 5), min_size=m, max_size=m), min_size=1, max_size=12),
        st.lists(st.sampled_from(["minimize", "maximize"]), min_size=m, max_size=m),
    )
)


def dominates(a: list[int], b: list[int], directions: list[str]) -> bool:
    signed = [(x, y) if d == "minimize" else (-x, -y) for x, y, d in zip(a, b, directions, strict=True)]
    return all(x <= y for x, y in signed) and any(x < y for x, y in signed)


@settings(max_examples=60, deadline=None)
@given(POINTS)
def test_the_front_is_what_comparing_all_pairs_leaves(case: tuple[list[list[int]], list[str]]) -> None:
    points, directions = case
    brute = [not any(dominates(other, point, directions) for other in points) for point in points]
    assert nondominated(points, directions).tolist() == brute


@settings(max_examples=40, deadline=None)
@given(POINTS)
def test_ranks_peel_one_front_after_another(case: tuple[list[list[int]], list[str]]) -> None:
    points, directions = case
    ranks = front_ranks(points, directions)
    left, rank = list(range(len(points))), 0
    while left:
        front = [i for i in left if not any(dominates(points[j], points[i], directions) for j in left)]
        assert all(ranks[i] == rank for i in front)
        left, rank = [i for i in left if i not in front], rank + 1


def sweep(points: list[list[int]], reference: tuple[int, int]) -> float:
    """Unit squares below the reference that some point covers: exact for integers, both minimised."""
    squares = ((x, y) for x in range(reference[0]) for y in range(reference[1]))
    return float(sum(any(px <= x and py <= y for px, py in points) for x, y in squares))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 7), min_size=2, max_size=2), max_size=8))
def test_hypervolume_counts_the_covered_squares(points: list[list[int]]) -> None:
    assert hypervolume(points, ["minimize", "minimize"], (6, 5)) == pytest.approx(sweep(points, (6, 5)))
    mirrored = [[-x, y] for x, y in points]
    assert hypervolume(mirrored, ["maximize", "minimize"], (-6, 5)) == pytest.approx(sweep(points, (6, 5)))


def test_an_unknown_value_is_on_no_front_and_removes_nobody() -> None:
    values = [[np.nan, 0.0], [1.0, 1.0], [2.0, 2.0]]
    assert nondominated(values, ["minimize", "minimize"]).tolist() == [False, True, False]
    assert front_ranks(values, ["minimize", "minimize"]).tolist() == [-1, 0, 1]
    assert hypervolume(values, ["minimize", "minimize"], (3, 3)) == 4.0


def test_no_points_have_an_empty_front_and_no_volume() -> None:
    assert nondominated([], ["minimize", "maximize"]).shape == (0,)
    assert hypervolume([], ["minimize", "maximize"], (1, 0)) == 0.0


def test_a_single_point_covers_the_box_to_the_reference() -> None:
    assert hypervolume([[0.9, 2.0]], ["maximize", "minimize"], (0.5, 5.0)) == pytest.approx(0.4 * 3.0)


def test_the_knee_is_furthest_from_the_line_through_the_ends() -> None:
    front = np.array([[0.0, 10.0], [1.0, 4.0], [2.0, 1.5], [6.0, 1.0], [10.0, 0.0]])
    ends = front[0], front[-1]
    along, offset = ends[1] - ends[0], front - ends[0]
    distance = np.abs(along[0] * offset[:, 1] - along[1] * offset[:, 0]) / np.linalg.norm(along)
    assert knee(front, ["minimize", "minimize"]) == int(distance.argmax()) == 2


def test_the_knee_keeps_its_index_when_a_direction_is_mirrored_and_a_unit_is_scaled() -> None:
    front = np.array([[5.0, 5.0], [0.0, 10.0], [1.0, 4.0], [2.0, 1.5], [6.0, 1.0], [10.0, 0.0]])
    assert knee(front * [-1000.0, 1.0], ["maximize", "minimize"]) == 3


def test_the_knee_of_one_objective_is_its_best_point() -> None:
    assert knee([[3.0], [1.0], [2.0]], ["minimize"]) == 1
    assert knee([[3.0], [1.0], [2.0]], ["maximize"]) == 0


def test_the_knee_of_one_point_and_of_ties_is_the_first() -> None:
    assert knee([[3.0, 1.0]], ["minimize", "minimize"]) == 0
    assert knee([[0.0, 0.3], [0.1, 0.2], [0.2, 0.1], [0.3, 0.0]], ["minimize", "minimize"]) == 0


def test_the_knee_of_three_objectives_is_the_balanced_point() -> None:
    front = [[0.0, 9.0, 9.0], [9.0, 0.0, 9.0], [9.0, 9.0, 0.0], [1.0, 1.0, 1.0], [0.5, 8.0, 0.5]]
    assert knee(front, ["minimize"] * 3) == 3


def test_a_knee_needs_a_finite_point() -> None:
    with pytest.raises(ValueError, match="at least one point"):
        knee([[np.nan, 1.0], [np.inf, 0.0]], ["minimize", "minimize"])


def test_a_wrong_direction_or_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="'up' is unknown"):
        nondominated([[1.0]], ["up"])
    with pytest.raises(ValueError, match=r"expected \(n, 2\)"):
        nondominated([[1.0]], ["minimize", "minimize"])
