"""A parameter graph for reading and drawing, with names: every neuron of a small network, or rows of a large one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from nasplat.channels.flat import alone, block_ends
from nasplat.channels.graph import ParameterGraph, feature_names
from nasplat.channels.structure import GraphStructure, Numbers
from nasplat.errors import NasplatError

if TYPE_CHECKING:
    from networkx import MultiDiGraph

LIMIT = 1_000_000
"""Edges beyond which a graph of single neurons would not fit in memory."""


def neurons(graph: ParameterGraph) -> MultiDiGraph:
    """A node for each neuron: row, kind, channel (its place in the row), depth, activation, position, and the
    parameters that it holds by name. An edge for each kernel and join, its key the parameter or the kind of join:
    kind, and weight, a number or the list of them. NasplatError: a batch, or more than a million edges.
    """
    from networkx import MultiDiGraph

    form = alone(graph).structure
    if form.edges > LIMIT:
        raise NasplatError(
            f"{graph!r} is too large to read: `to_networkx(rows=True)` has one node for each row"
        )
    found = MultiDiGraph()
    _add_neurons(found, graph)
    _add_edges(found, graph)
    return found


def rows(graph: ParameterGraph) -> MultiDiGraph:
    """A node for each row of neurons, named as it is: kind, size, depth, activation. An edge where a block or a join
    goes from row to row, its key the parameter or the kind of join: kind, edges (how many), and a block's kernel and
    groups.
    """
    from networkx import MultiDiGraph

    form = graph.structure
    names = row_names(form)
    found = MultiDiGraph()
    for name, row in zip(names, form.neurons, strict=True):
        found.add_node(name, kind=row.kind, size=len(row), depth=row.depth, activation=row.activation)
    for source, target, key, about in row_edges(form):
        found.add_edge(names[source], names[target], key=key, **about)
    return found


def _add_neurons(found: MultiDiGraph, graph: ParameterGraph) -> None:
    form, names = graph.structure, feature_names()
    for row in form.neurons:
        about = {"row": row.name, "kind": row.kind, "depth": row.depth, "activation": row.activation}
        for node in range(row.start, row.stop):
            place = {"channel": node - row.start, "position": int(form.positions[node])}
            found.add_node(node, **about, **place)
    features = graph.features.tolist()
    for vector in form.vectors:
        for node in vector.nodes.tolist():
            found.nodes[node][names[vector.feature]] = features[node][vector.feature]


def _add_edges(found: MultiDiGraph, graph: ParameterGraph) -> None:
    for block, edges in zip(graph.structure.blocks, graph.edges, strict=True):
        kernels = edges.reshape(-1, edges.shape[-1]).tolist()
        for source, target, kernel in zip(*block_ends(block).tolist(), kernels, strict=True):
            weight = kernel if block.kernel else kernel[0]
            found.add_edge(source, target, key=block.parameter, kind=block.kind, weight=weight)
    for join in graph.structure.joins:
        for source, target in zip(join.sources.tolist(), join.targets.tolist(), strict=True):
            found.add_edge(source, target, key=join.kind, kind=join.kind, weight=1.0)


def row_names(form: GraphStructure) -> list[str]:
    """The names of all rows; one that stands twice has its number behind it."""
    names = [row.name for row in form.neurons]
    return [f"{name} ({n})" if names.count(name) > 1 else name for n, name in enumerate(names)]


def row_edges(form: GraphStructure) -> Iterator[tuple[int, int, str, dict[str, Any]]]:
    """Which rows a block or join connects: numbers of source and target row, name, and what is known."""
    starts = np.array([row.start for row in form.neurons])
    for block in form.blocks:
        for source, target, count in _pairs(starts, block.sources, block.targets):
            about = {"kind": block.kind, "edges": count, "kernel": block.kernel, "groups": len(block.sources)}
            yield source, target, block.parameter, about
    for join in form.joins:
        for source, target, count in _pairs(starts, join.sources[:, None], join.targets[:, None]):
            yield source, target, join.kind, {"kind": join.kind, "edges": count}


def _pairs(starts: Numbers, sources: Numbers, targets: Numbers) -> list[tuple[int, int, int]]:
    """Pairs of rows with the number of edges between them; sources (g, i) and targets (g, o)."""
    counts = _held(starts, sources).T @ _held(starts, targets)
    return [(int(s), int(t), int(counts[s, t])) for s, t in np.argwhere(counts)]


def _held(starts: Numbers, nodes: Numbers) -> Numbers:
    """How many nodes (g, n) of every group lie in every row: (g, rows)."""
    groups = len(nodes)
    row = np.searchsorted(starts, nodes, side="right") - 1 + np.arange(groups)[:, None] * len(starts)
    return np.bincount(row.ravel(), minlength=groups * len(starts)).reshape(groups, len(starts))
