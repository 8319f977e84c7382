"""Subsets as choices: their values, draws, neighbours and vectors, and what is refused."""

from __future__ import annotations

from itertools import product
from math import comb

import networkx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasplat.errors import InvalidArchitecture, NasplatError
from nasplat.space import Arch, Choice, Space, Value, categorical, members, subset

few = settings(max_examples=40, deadline=None)
LETTERS = "abcde"


@st.composite
def subsets(draw: st.DrawFn) -> Choice:
    items = LETTERS[: draw(st.integers(1, 5))]
    least = draw(st.integers(0, len(items)))
    return subset("x", tuple(items), least, draw(st.integers(least, len(items))))


@st.composite
def subsets_of_some_values(draw: st.DrawFn) -> Choice:
    choice = draw(subsets())
    return choice.only(draw(st.lists(st.sampled_from(choice.values), min_size=1, unique=True)))


def on(value: Value) -> set[str]:
    return set(members(value))


def difference(a: Value, b: Value) -> int:
    return len(on(a) ^ on(b))


def draws(choice: Choice) -> list[tuple[int, ...]]:
    return list(product((0, 1), repeat=len(choice.param_names)))


@few
@given(st.integers(1, 8), st.data())
def test_values_are_all_subsets_of_the_sizes_from_small_to_large(n: int, data: st.DataObject) -> None:
    least = data.draw(st.integers(0, n))
    most = data.draw(st.integers(least, n))
    choice = subset("x", range(n), least, most)
    sizes = [len(on(value)) for value in choice.values]
    assert sizes == sorted(sizes) == [s for s in range(least, most + 1) for _ in range(comb(n, s))]
    assert len({frozenset(on(value)) for value in choice.values}) == len(choice.values)
    for value in choice.values:
        assert members(value) == sorted(members(value))


def test_the_ends_are_the_first_item_alone_and_all_items() -> None:
    space = Space("s", [subset("kernels", (7, 3, 5))])
    assert (space.smallest()["kernels"], space.largest()["kernels"]) == ("7", "7+3+5")
    assert space.size == 7


@few
@given(subsets_of_some_values())
def test_every_draw_gives_one_of_the_nearest_subsets_and_every_subset_gives_itself(choice: Choice) -> None:
    items = [name[2:-1] for name in choice.param_names]
    for draw in draws(choice):
        drawn = {item for item, bit in zip(items, draw, strict=True) if bit}
        value = choice.from_params(dict(zip(choice.param_names, draw, strict=True)))
        assert len(on(value) ^ drawn) == min(len(on(other) ^ drawn) for other in choice.values)
    for value in choice.values:
        params = choice.to_params(value)
        assert params == {f"x[{item}]": int(item in on(value)) for item in items}
        assert choice.from_params(params) == value


def test_a_random_draw_prefers_no_item() -> None:
    """Always the first of the nearest would give the last item in 1 of 50 draws."""
    choice = subset("x", range(10), 1, 2)
    drawn = [choice.from_params(dict(zip(choice.param_names, draw, strict=True))) for draw in draws(choice)]
    shares = [np.mean([str(item) in on(value) for value in drawn]) for item in range(10)]
    assert 0.15 < min(shares) <= max(shares) < 0.25


@few
@given(subsets())
def test_neighbours_differ_by_one_item_or_swap_one_where_sizes_are_fixed(choice: Choice) -> None:
    sizes = {len(on(value)) for value in choice.values}
    step = 2 if len(sizes) == 1 else 1
    for value in choice.values:
        assert choice.adjacent(value) == [v for v in choice.values if difference(v, value) == step]


@few
@given(subsets_of_some_values())
def test_neighbours_know_each_other_and_are_connected_whatever_values_are_left(choice: Choice) -> None:
    graph = networkx.DiGraph([(v, other) for v in choice.values for other in choice.adjacent(v)])
    graph.add_nodes_from(choice.values)
    assert all(graph.has_edge(b, a) for a, b in graph.edges)
    assert networkx.is_weakly_connected(graph)


def test_a_vector_has_a_number_for_each_item_and_an_inactive_subset_is_zero() -> None:
    space = Space("s", [categorical("a", (0, 1)), subset("k", (3, 5, 7), 0, when={"a": (1,)})])
    assert space.encoding_names == ("a=0", "a=1", "k[3]", "k[5]", "k[7]")
    np.testing.assert_array_equal(space.encode(space.arch({"a": 1, "k": "3+7"})), [0, 1, 1, 0, 1])
    np.testing.assert_array_equal(space.encode(space.arch({"a": 0})), [1, 0, 0, 0, 0])
    assert len({space.encode(arch).tobytes() for arch in space.enumerate()}) == space.size == 1 + 2**3


def test_the_key_is_canonical() -> None:
    space = Space("s", [subset("k", (3, 5, 7))])
    drawn = [
        space.from_params({"k[7]": 1, "k[3]": 1, "k[5]": 0}),
        space.from_params({"k[3]": 1, "k[5]": 0, "k[7]": 1}),
    ]
    assert {arch.key for arch in drawn} == {Arch({"k": "3+7"}).key}
    with pytest.raises(InvalidArchitecture, match=r"k is '7\+3': choose one of \['3', '5'"):
        space.arch({"k": "7+3"})


def test_other_items_are_another_space() -> None:
    whole = Space("s", [subset("k", ("a", "b", "c"), 2)]).restrict({"k": ["a+b"]})
    assert whole.hash != Space("s", [subset("k", ("a", "b"), 2)]).hash


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"k[3]": 2, "k[5]": 0}, r"k\[3\] is 2: choose a whole number from 0 to 1"),
        ({"k[3]": True, "k[5]": 0}, r"k\[3\] is True: choose a whole number"),
        ({"k[3]": 1}, r"k is missing: choose one of \['3', '5', '3\+5'\]"),
        ({"k[3]": 1, "k[5]": 0, "k": "3"}, r"s has no choice 'k': "),
    ],
)
def test_wrong_parameters_are_refused_in_one_line(params: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidArchitecture, match=message) as caught:
        Space("s", [subset("k", (3, 5))]).from_params(params)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((("a", "b", "a"),), "the items of 'k' are .*: give different ones"),
        (((1, "1"),), "give different ones"),
        ((("a+b", "c"),), r"without a '\+'"),
        ((("",),), "not empty"),
        (("abc",), "the values of 'k' are 'abc': give a sequence"),
        ((("a", "b"), 3), "takes 3 to 2 of 2 items: give 0 <= least <= most <= 2"),
        ((("a", "b"), 1, 3), "takes 1 to 3 of 2 items"),
        ((("a", "b"), -1), "takes -1 to 2 of 2 items"),
        (((), 1), "takes 1 to 0 of 0 items"),
        ((range(20),), "'k' has 1,048,575 values: give at most 100,000"),
    ],
)
def test_a_wrong_subset_is_refused_in_one_line(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(NasplatError, match=message) as caught:
        subset("k", *arguments)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_very_many_values_are_not_all_listed_in_a_message() -> None:
    space = Space("s", [subset("k", range(10))])
    with pytest.raises(
        InvalidArchitecture, match=r"k is 'x': choose one of 1023 values from '0' to '0\+1.*9'$"
    ):
        space.arch({"k": "x"})
