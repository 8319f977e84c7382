"""Positions as choices: runs of blocks, draws without repair, neighbours and vectors, and what is refused."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise, product
from math import comb, factorial

import networkx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasplat.errors import InvalidArchitecture, NasplatError
from nasplat.space import Choice, Space, Value, positions, positions_of, runs

few = settings(max_examples=40, deadline=None)


@st.composite
def placements(draw: st.DrawFn) -> Choice:
    slots = draw(st.integers(0, 6))
    return positions("x", slots, draw(st.integers(0, min(slots, 3))))


@st.composite
def placements_of_some_values(draw: st.DrawFn) -> Choice:
    choice = draw(placements())
    return choice.only(draw(st.lists(st.sampled_from(choice.values), min_size=1, unique=True)))


def draws(choice: Choice) -> list[dict[str, int]]:
    ranges = [range(d.high + 1) for d in choice.distributions.values()]  # type: ignore[attr-defined]
    return [dict(zip(choice.param_names, draw, strict=True)) for draw in product(*ranges)]


def moves(a: Value, b: Value) -> int:
    """How many slots the positions move in all."""
    return sum(abs(x - y) for x, y in zip(positions_of(a), positions_of(b), strict=True))


def test_two_positions_between_ten_blocks_are_the_36_layouts_of_three_runs() -> None:
    choice = positions("pools", slots=9, count=2)
    triples = [(i, j, 10 - i - j) for i in range(1, 9) for j in range(1, 10 - i)]
    assert choice.values == tuple("-".join(map(str, triple)) for triple in triples)
    assert len(choice.values) == comb(9, 2) == 36
    assert (runs("4-3-3"), positions_of("4-3-3")) == ([4, 3, 3], [3, 6])


@few
@given(placements())
def test_values_are_all_combinations_in_the_order_of_their_positions(choice: Choice) -> None:
    slots = len(choice.encoding_names)
    found = [positions_of(value) for value in choice.values]
    assert found == sorted(found)
    assert len({tuple(places) for places in found}) == comb(slots, len(choice.param_names))
    for value, places in zip(choice.values, found, strict=True):
        assert all(a < b for a, b in pairwise([-1, *places, slots]))
        assert sum(runs(value)) == slots + 1


def test_the_ends_have_the_earliest_and_the_latest_positions() -> None:
    space = Space("s", [positions("pools", 9, 2)])
    assert (space.smallest()["pools"], space.largest()["pools"]) == ("1-1-8", "8-1-1")


@few
@given(placements())
def test_all_draws_give_every_combination_equally_often(choice: Choice) -> None:
    counts = Counter(choice.from_params(draw) for draw in draws(choice))
    assert counts == dict.fromkeys(choice.values, factorial(len(choice.param_names)))


@few
@given(placements_of_some_values())
def test_every_draw_gives_a_value_that_is_left_and_every_value_gives_itself(choice: Choice) -> None:
    slots, count = len(choice.encoding_names), len(choice.param_names)
    whole = positions("x", slots, count)
    for draw in draws(choice):
        wanted, value = whole.from_params(draw), choice.from_params(draw)
        assert moves(wanted, value) == min(moves(wanted, other) for other in choice.values)
    for value in choice.values:
        assert choice.from_params(choice.to_params(value)) == value


@few
@given(placements())
def test_neighbours_have_one_position_moved_by_one_slot(choice: Choice) -> None:
    for value in choice.values:
        assert choice.adjacent(value) == [v for v in choice.values if moves(v, value) == 1]


@few
@given(placements_of_some_values())
def test_neighbours_know_each_other_and_are_connected_whatever_values_are_left(choice: Choice) -> None:
    graph = networkx.DiGraph([(v, other) for v in choice.values for other in choice.adjacent(v)])
    graph.add_nodes_from(choice.values)
    assert all(graph.has_edge(b, a) for a, b in graph.edges)
    assert networkx.is_weakly_connected(graph)


def test_a_vector_has_a_number_for_each_slot() -> None:
    space = Space("s", [positions("pools", 4, 2)])
    assert space.encoding_names == ("pools[0]", "pools[1]", "pools[2]", "pools[3]")
    np.testing.assert_array_equal(space.encode(space.arch({"pools": "2-2-1"})), [0, 1, 0, 1])
    assert len({space.encode(arch).tobytes() for arch in space.enumerate()}) == space.size == 6


def test_slots_without_a_position_are_a_single_run() -> None:
    space = Space("s", [positions("pools", 4, 0)])
    assert space.largest()["pools"] == "5"
    assert space.from_params({}) == space.largest()
    assert (runs("5"), positions_of("5")) == ([5], [])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"pools#1": 9, "pools#2": 0}, "pools#1 is 9: choose a whole number from 0 to 8"),
        ({"pools#1": 0, "pools#2": 8}, "pools#2 is 8: choose a whole number from 0 to 7"),
        ({"pools#1": 0.0, "pools#2": 0}, "pools#1 is 0.0: choose a whole number"),
        ({"pools#1": 0}, "pools is missing"),
        ({"pools#1": 0, "pools#2": 0, "pools#3": 0}, r"s has no choice 'pools#3': did you mean 'pools#\d'"),
    ],
)
def test_wrong_parameters_are_refused_in_one_line(params: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidArchitecture, match=message) as caught:
        Space("s", [positions("pools", 9, 2)]).from_params(params)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("slots", "count", "message"),
    [
        (3, 4, "has 4 positions in 3 slots: give 0 <= count <= slots"),
        (3, -1, "has -1 positions in 3 slots"),
        (40, 10, "'pools' has 847,660,528 values: give at most 100,000"),
    ],
)
def test_wrong_positions_are_refused_in_one_line(slots: int, count: int, message: str) -> None:
    with pytest.raises(NasplatError, match=message) as caught:
        positions("pools", slots, count)
    assert "\n" not in str(caught.value)
