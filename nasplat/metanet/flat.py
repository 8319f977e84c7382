"""The edge-gated metanetwork over a list of edges, as one writes it with torch_geometric: to read and to compare."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from nasplat.channels.graph import ParameterGraph
from nasplat.metanet.edge_gated import EdgeGatedLayer
from nasplat.metanet.encoders import GraphEncoder
from nasplat.metanet.layout import layout_of
from nasplat.metanet.state import GraphState

AGGREGATIONS = ("mean", "std", "max", "min")


class FlatEdgeGated(nn.Module):
    """The same function of the same parameters as `EdgeGated`: each loads the other's state.

    Edges (m, edges, H) lie in a row, `edge_index` (2, edges) says what they join, and every message is made and
    scattered on its own. A batch of m networks is one graph of m parts.
    """

    def __init__(self, width: int = 64, layers: int = 8, *, grid: int = 3, words: bool = True) -> None:
        super().__init__()
        self.encoder = GraphEncoder(width, grid, words)
        self.layers = nn.ModuleList(EdgeGatedLayer(width) for _ in range(layers))
        self.passing = message_passing()

    def forward(self, graph: ParameterGraph) -> GraphState:
        """Hidden states of nodes, blocks and joins."""
        state: GraphState = self.encoder(graph)
        layout, m = layout_of(graph.structure), len(state.nodes)
        h, e = state.nodes.flatten(0, 1), layout.pack(state).flatten(0, 1)
        parts = torch.arange(m, device=h.device)[:, None, None] * layout.nodes
        edge_index = (layout.edge_index().to(h.device) + parts).transpose(0, 1).flatten(1)
        for layer in self.layers:
            h, e = flat_layer(layer, self.passing, h, e, edge_index)
        edges = layout.unpack(e.unflatten(0, (m, -1)), graph.structure)
        return GraphState(h.unflatten(0, (m, -1)), *edges)


def flat_layer(layer: Any, passing: Any, h: Tensor, e: Tensor, edge_index: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes (n, H) and edges (edges, H) after a layer; the formulas are in `EdgeGatedLayer`."""
    a1, a2, a3, a4 = layer.factors(h).chunk(4, dim=-1)
    back = layer.combine(passing(edge_index.flip(0), a1, a2, e))
    forth = layer.combine(passing(edge_index, a1, a2, e * layer.signs))
    u, v = edge_index
    return h + back + forth, e * (1 + a3[u] * a4[v] + a4[u] * a3[v])


def message_passing() -> Any:
    """A module that aggregates messages a2(v) a1(u) e four ways, to (nodes, 4 H)."""
    with warnings.catch_warnings():  # it scripts a class when it is imported, which torch deprecates
        warnings.filterwarnings("ignore", message=".*torch.jit.script", category=DeprecationWarning)
        from torch_geometric.nn import MessagePassing

    class GatedMessages(MessagePassing):  # type: ignore[misc]  # torch_geometric is not typed
        def __init__(self) -> None:
            super().__init__(aggr=list(AGGREGATIONS))

        def forward(self, edge_index: Tensor, a1: Tensor, a2: Tensor, e: Tensor) -> Tensor:
            got: Tensor = self.propagate(edge_index, a1=a1, a2=a2, e=e, size=(len(a1), len(a1)))
            return got

        def message(self, a1_j: Tensor, a2_i: Tensor, e: Tensor) -> Tensor:
            return a2_i * a1_j * e

    return GatedMessages()
