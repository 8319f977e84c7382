"""What is known of each operation of a graph in numbers, besides its word."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from nasplat.prediction.sample import Layers
from nasplat.space import ArchGraph


def node_rows(graph: ArchGraph, layers: Layers) -> list[dict[str, float]]:
    """For each node its features by name, its layer-wise scores, and where it is.

    log_depth and log_height: logarithm of 1 + the edges on the longest path that ends, or starts, at the node. A
    score joins by the name of the module that the node calls; a node named for a module with parts has their sum,
    NaN where it is not finite.
    """
    above, below = depths(graph)
    values = graph.features or ((),) * len(graph.operations)
    rows = [dict(zip(graph.feature_names, row, strict=True)) for row in values]
    for node, row in enumerate(rows):
        row |= {"log_depth": math.log1p(above[node]), "log_height": math.log1p(below[node])}
    for score, known in layers.items():
        for node, name in enumerate(graph.names):
            found = _joined(known, name) if name else []
            if found:
                rows[node][f"score {score}"] = _total(found)
    return rows


def _joined(known: Mapping[str, float], name: str) -> list[float]:
    if name in known:
        return [known[name]]
    return [value for module, value in known.items() if module.startswith(f"{name}.")]


def _total(parts: Sequence[float]) -> float:
    """Their exact sum; `fsum` raises for infinite parts and sums that are too large."""
    if len(parts) == 1:
        return parts[0]
    return math.fsum(parts) if math.isfinite(sum(parts)) else math.nan


def depths(graph: ArchGraph) -> tuple[list[int], list[int]]:
    """Edges on the longest path to each node, and from it; nodes are in topological order."""
    above, below = [0] * len(graph.operations), [0] * len(graph.operations)
    for source, target in sorted(graph.edges, key=lambda edge: edge[1]):
        above[target] = max(above[target], above[source] + 1)
    for source, target in sorted(graph.edges, reverse=True):
        below[source] = max(below[source], below[target] + 1)
    return above, below
