"""An architecture as a graph of operations, for pictures, predictors and comparisons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import networkx as nx


@dataclass(frozen=True, slots=True)
class ArchGraph:
    """Operations on the nodes of a directed acyclic graph.

    operations: the word of each of n nodes, in topological order, "input" and "output" among them where there are
    such nodes. edges: pairs (source, target) of node numbers, source < target. names: the module that each node calls
    ("" for none), or () where there are no modules. features: numbers of each node, (n, f), that belong to
    `feature_names` (f,), such as the logarithm of its parameters.
    """

    operations: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]
    names: tuple[str, ...] = ()
    features: tuple[tuple[float, ...], ...] = ()
    feature_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.operations)
        for source, target in self.edges:
            if not 0 <= source < target < n:
                raise ValueError(f"edge {source} -> {target}: expected 0 <= source < target < {n} nodes")

    def to_networkx(self) -> nx.DiGraph:
        """The same graph with the attributes `operation`, `name` and the features on its nodes."""
        import networkx as nx

        graph = nx.DiGraph()
        names = self.names or ("",) * len(self.operations)
        numbers = self.features or ((),) * len(self.operations)
        for node, (word, name, values) in enumerate(zip(self.operations, names, numbers, strict=True)):
            known = dict(zip(self.feature_names, values, strict=True))
            graph.add_node(node, operation=word, name=name, **known)
        graph.add_edges_from(self.edges)
        return graph
