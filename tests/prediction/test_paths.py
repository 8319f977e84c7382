"""Path counts against an enumeration of all paths, and in closed form."""

from __future__ import annotations

from collections import Counter
from math import comb

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasplat.prediction.paths import path_counts
from nasplat.space import ArchGraph

few = settings(max_examples=60, deadline=None)


@st.composite
def graphs(draw: st.DrawFn) -> ArchGraph:
    """A random acyclic graph with up to two inputs and two outputs among nine nodes."""
    inner = draw(st.lists(st.sampled_from(["conv", "pool", "skip_connect"]), max_size=5))
    operations = ["input"] * draw(st.integers(1, 2)) + inner + ["output"] * draw(st.integers(1, 2))
    pairs = [(a, b) for b in range(len(operations)) for a in range(b)]
    pairs = [(a, b) for a, b in pairs if operations[b] != "input" and operations[a] != "output"]
    return ArchGraph(tuple(operations), tuple(draw(st.lists(st.sampled_from(pairs), unique=True))))


def enumerated(graph: ArchGraph, transparent: tuple[str, ...]) -> Counter[tuple[str, ...]]:
    drawn, words = graph.to_networkx(), Counter[tuple[str, ...]]()
    ends = {end: [n for n, word in enumerate(graph.operations) if word == end] for end in ("input", "output")}
    for source in ends["input"]:
        for path in nx.all_simple_paths(drawn, source, ends["output"]):
            letters = (graph.operations[node] for node in path[1:-1])
            words[tuple(letter for letter in letters if letter not in transparent)] += 1
    return words


@few
@given(graphs(), st.sampled_from([(), ("skip_connect",), ("skip_connect", "pool")]))
def test_counts_are_those_of_all_paths_that_an_enumeration_finds(
    graph: ArchGraph, transparent: tuple[str, ...]
) -> None:
    assert path_counts(graph, transparent=transparent) == enumerated(graph, transparent)


@few
@given(graphs(), st.integers(0, 4))
def test_a_limit_drops_the_longer_words_and_nothing_else(graph: ArchGraph, longest: int) -> None:
    short = {word: n for word, n in path_counts(graph).items() if len(word) <= longest}
    assert path_counts(graph, longest) == short


def test_a_ladder_of_thirty_pairs_has_binomial_counts_by_letters_seen() -> None:
    """Thirty rungs of a convolution beside a skip: 2^30 paths, far too many to list one by one."""
    operations, edges, ends = ["input"], list[tuple[int, int]](), [0]
    for _ in range(30):
        node = len(operations)
        operations += ["conv", "skip_connect"]
        edges += [(end, rung) for end in ends for rung in (node, node + 1)]
        ends = [node, node + 1]
    graph = ArchGraph((*operations, "output"), (*edges, *((end, len(operations)) for end in ends)))
    assert path_counts(graph) == {("conv",) * n: comb(30, n) for n in range(31)}


@pytest.mark.parametrize(
    "graph",
    [
        ArchGraph(("input", "output"), ()),
        ArchGraph(("input", "conv", "output"), ((0, 1),)),
        ArchGraph(("conv", "pool"), ((0, 1),)),
    ],
)
def test_without_a_path_there_is_nothing_to_count(graph: ArchGraph) -> None:
    assert path_counts(graph) == {}


def test_branches_that_end_nowhere_or_begin_nowhere_count_nothing() -> None:
    operations = ("input", "conv", "pool", "pool", "output")
    assert path_counts(ArchGraph(operations, ((0, 1), (0, 2), (1, 4), (3, 4)))) == {("conv",): 1}
