"""Numbers of routes against walking every path."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nasplat.prediction.routes import letter_sets, letters_of, route_numbers
from nasplat.space import ArchGraph

LETTERS = ["a", "b", "c"]


@st.composite
def graphs(draw: st.DrawFn) -> ArchGraph:
    inner = draw(st.lists(st.sampled_from([*LETTERS, "skip_connect"]), min_size=1, max_size=5))
    operations = ("input", *inner, "output")
    pairs = [(s, t) for t in range(len(operations)) for s in range(t)]
    return ArchGraph(operations, tuple(draw(st.lists(st.sampled_from(pairs), unique=True))))


def walks(graph: ArchGraph, node: int = 0, word: str = "") -> Iterator[str]:
    """The letters along each path from the input to the output, one path at a time."""
    letter = graph.operations[node]
    word += letter if letter in LETTERS else ""
    if letter == "output":
        yield word
    for source, target in graph.edges:
        if source == node:
            yield from walks(graph, target, word)


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_route_numbers_are_those_of_all_walks(graph: ArchGraph) -> None:
    words = list(walks(graph))
    sets = letter_sets(LETTERS)
    numbers, turns = route_numbers(graph, LETTERS, sets)
    counts = [[sum(word.count(LETTERS[i]) for i in np.flatnonzero(row)) for word in words] for row in sets]
    most, fewest = [max(c, default=-1) for c in counts], [min(c, default=-1) for c in counts]
    totals = np.log1p([sum(c) for c in counts])
    np.testing.assert_allclose(numbers, [np.log1p(len(words)), *most, *fewest, *totals])
    pairs = [[p + q for p, q in _pairs(word)] for word in words]
    expected = [sum(found.count(a + b) for found in pairs) for a in LETTERS for b in LETTERS]
    np.testing.assert_allclose(turns, np.log1p(expected))


def _pairs(word: str) -> list[tuple[str, str]]:
    return [(word[i], word[j]) for j in range(len(word)) for i in range(j)]


def test_sets_are_all_letters_alone_in_twos_and_together() -> None:
    assert letter_sets(LETTERS).sum(1).tolist() == [1, 1, 1, 2, 2, 2, 3]
    assert letter_sets(["a"]).tolist() == [[1]]
    assert letter_sets(["a", "b"]).tolist() == [[1, 0], [0, 1], [1, 1]]


def test_ends_and_skips_are_no_letters() -> None:
    graph = ArchGraph(("input", "conv", "skip_connect", "output"), ((0, 1), (1, 2), (2, 3)))
    assert letters_of([graph]) == ["conv"]


def test_many_paths_cost_no_more_than_few() -> None:
    n = 300  # a ladder with 2^299 paths
    edges = [(i, i + 1) for i in range(0, 2 * n, 1)] + [(i, i + 2) for i in range(0, 2 * n - 1, 2)]
    graph = ArchGraph(("input", *["a"] * (2 * n - 1), "output"), tuple(edges))
    numbers, _ = route_numbers(graph, ["a"], letter_sets(["a"]))
    np.testing.assert_allclose(numbers[0], n * np.log(2))
    assert numbers[1:3].tolist() == [2 * n - 1, n - 1]
