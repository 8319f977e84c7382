"""What a metanetwork knows of a graph between its layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from nasplat.channels.graph import ParameterGraph


@dataclass(frozen=True, slots=True, eq=False)
class GraphState:
    """Hidden states of m networks of one form.

    nodes (m, nodes, H). edges: (m, g, o, i, H) for every block of the structure, or None where a backbone keeps none.
    joins: (m, n, H) for every join of the structure, or None.
    """

    nodes: Tensor
    edges: Sequence[Tensor] | None = None
    joins: Sequence[Tensor] | None = None


def features_of(graph: ParameterGraph) -> Tensor:
    """Node features (m, nodes, 10); one network is a batch of one."""
    features = graph.features
    return features.reshape(-1, *features.shape[-2:])


def edges_of(graph: ParameterGraph) -> list[Tensor]:
    """Weights (m, g, o, i, k) of every block; one network is a batch of one."""
    return [edges.reshape(-1, *edges.shape[-4:]) for edges in graph.edges]
