"""Points of a grid: the nearest ones, and the relative neighbourhood graph."""

from __future__ import annotations

import networkx
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nasplat.space.points import nearest, relative_neighbours

Point = tuple[int, int, int]
few = settings(max_examples=60, deadline=None)
coordinate = st.integers(0, 3)
point = st.tuples(coordinate, coordinate, coordinate)
some_points = st.lists(point, min_size=1, max_size=12, unique=True)


def apart(a: Point, b: Point) -> int:
    return sum(abs(x - y) for x, y in zip(a, b, strict=True))


@few
@given(some_points, point)
def test_the_nearest_points_are_those_of_the_least_distance(points: list[Point], place: Point) -> None:
    least = min(apart(p, place) for p in points)
    expected = [i for i, p in enumerate(points) if apart(p, place) == least]
    assert nearest(np.array(points), place) == expected


@few
@given(some_points)
def test_neighbours_are_pairs_that_no_third_point_separates_and_connect_all_points(
    points: list[Point],
) -> None:
    graph = networkx.Graph()
    graph.add_nodes_from(range(len(points)))
    for i, a in enumerate(points):
        found = relative_neighbours(np.array(points), i)
        graph.add_edges_from((i, j) for j in found)
        assert found == [
            j
            for j, b in enumerate(points)
            if j != i and not any(max(apart(a, c), apart(b, c)) < apart(a, b) for c in points)
        ]
    assert networkx.is_connected(graph)
