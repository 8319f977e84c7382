"""Numbers of nodes: places by longest paths, and scores that join by module."""

from __future__ import annotations

import math

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasplat.prediction.nodes import node_rows
from nasplat.space import ArchGraph


@st.composite
def graphs(draw: st.DrawFn) -> ArchGraph:
    n = draw(st.integers(1, 7))
    pairs = [(i, j) for j in range(n) for i in range(j)]
    edges = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    return ArchGraph(("op",) * n, tuple(edges))


@given(graphs())
@settings(max_examples=40, deadline=None)
def test_depth_and_height_are_the_longest_paths_to_and_from_a_node(graph: ArchGraph) -> None:
    whole = graph.to_networkx()
    for node, row in enumerate(node_rows(graph, {})):
        above = whole.subgraph(nx.ancestors(whole, node) | {node})
        below = whole.subgraph(nx.descendants(whole, node) | {node})
        assert row["log_depth"] == math.log1p(nx.dag_longest_path_length(above))
        assert row["log_height"] == math.log1p(nx.dag_longest_path_length(below))


def test_scores_join_by_module_and_sum_over_the_parts_of_one() -> None:
    graph = ArchGraph(
        ("input", "conv3x3", "block", "output"),
        ((0, 1), (1, 2), (2, 3)),
        ("", "a", "b", ""),
        ((0.0,), (1.0,), (2.0,), (3.0,)),
        ("f",),
    )
    rows = node_rows(graph, {"snip": {"a": 5.0, "b.one": 1.5, "b.two": 2.0, "bb": 9.0}})
    assert [row.get("score snip") for row in rows] == [None, 5.0, 3.5, None]
    assert [row["f"] for row in rows] == [0, 1, 2, 3]


@pytest.mark.parametrize("parts", [(math.inf, -math.inf), (math.inf, 1.0), (1e308, 1e308), (math.nan, 1.0)])
def test_a_sum_that_is_not_finite_is_no_value(parts: tuple[float, float]) -> None:
    graph = ArchGraph(("input", "block"), ((0, 1),), ("", "b"))
    (_, row) = node_rows(graph, {"zen": {"b.one": parts[0], "b.two": parts[1]}})
    assert math.isnan(row["score zen"])
