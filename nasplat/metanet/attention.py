"""Attention along the edges of a parameter graph: an edge takes part in query, key and value."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.channels.graph import ParameterGraph
from nasplat.metanet.directions import Direction, closed, directions, opened
from nasplat.metanet.encoders import GraphEncoder
from nasplat.metanet.state import GraphState


class RelationalAttention(nn.Module):
    """In the spirit of NG-T (arXiv:2403.12143), whose layer is the relational transformer's (arXiv:2210.05062).

    Half of the heads attend to the neurons that a neuron reads, half to those that read it; those beyond its edges are
    not attended to, where the published layer attends to all. width H is that of nodes and edges, a multiple of
    2 heads. Shapes: m networks of one form -> GraphState of width H.
    """

    def __init__(self, width: int = 32, layers: int = 3, grid: int = 7, heads: int = 2) -> None:
        super().__init__()
        self.encoder = GraphEncoder(width, grid)
        self.layers = nn.ModuleList(AttentionLayer(width, heads) for _ in range(layers))

    def forward(self, graph: ParameterGraph) -> GraphState:
        state = self.encoder(graph)
        ways = directions(graph.structure, state.nodes.device)
        nodes, edges = state.nodes, opened(state)
        for layer in self.layers:
            nodes, edges = layer(nodes, edges, ways)
        return closed(nodes, edges, graph.structure)


class AttentionLayer(nn.Module):
    """q_vu = Q x_v + Q' e, k_vu = K x_u + K' e, v_vu = V x_u + V' e; x_v attends over its edges, then goes through a
    perceptron; then e += SiLU(W e + W' x_u + W'' x_v). `heads` of them go along edges, as many against.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        half = width // 2
        self.heads = heads
        self.norm, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.ask = nn.ModuleList(nn.Linear(width, half) for _ in range(2))
        self.tell = nn.ModuleList(nn.Linear(width, 2 * half) for _ in range(2))
        self.of_edges = nn.ModuleList(nn.Linear(width, 3 * half, bias=False) for _ in range(2))
        self.out = nn.Linear(2 * half, width)
        self.mix = nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))
        self.edge = nn.Linear(width, width)
        self.ends = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(2))

    def forward(
        self, nodes: Tensor, edges: Sequence[Tensor], ways: tuple[Direction, Direction]
    ) -> tuple[Tensor, list[Tensor]]:
        """nodes (m, nodes, H) and edges (m, g, o, i, H) after one round."""
        x = self.norm(nodes)
        nodes = nodes + self.out(torch.cat([self._heard(x, edges, way, k) for k, way in enumerate(ways)], 2))
        nodes = nodes + self.mix(self.second(nodes))
        x = self.norm(nodes)
        sources, targets = (way.sent(end(x)) for way, end in zip(ways, self.ends, strict=True))
        return nodes, [
            e + F.silu(self.edge(e) + source + target)
            for e, source, target in zip(edges, sources, targets, strict=True)
        ]

    def _heard(self, x: Tensor, edges: Sequence[Tensor], way: Direction, k: int) -> Tensor:
        """What the heads of one direction attend to: (m, nodes, H / 2)."""
        asked, told = way.received(self.ask[k](x)), way.sent(self.tell[k](x))
        logits, values = [], []
        for e, q, t in zip(edges, asked, told, strict=True):
            query, key, value = self.of_edges[k](e).chunk(3, -1)
            key_sent, value_sent = t.chunk(2, -1)
            product = ((query + q) * (key + key_sent)).unflatten(-1, (self.heads, -1))
            logits.append(product.sum(-1) / product.shape[-1] ** 0.5)
            values.append((value + value_sent).unflatten(-1, (self.heads, -1)))
        return attended(logits, values, way).flatten(2)


def attended(logits: Sequence[Tensor], values: Sequence[Tensor], way: Direction) -> Tensor:
    """Means of values weighted by the softmax of logits over all edges that reach a node, whatever their blocks.

    Shapes: logits (m, g, o, i, heads), values (m, g, o, i, heads, h) -> (m, nodes, heads, h); 0 where no edge comes.
    """
    tops = way.received(way.largest([one.detach().amax(way.axis) for one in logits]))
    weights = [(one - top).exp() for one, top in zip(logits, tops, strict=True)]
    sums = way.total([weight.sum(way.axis) for weight in weights])
    heard = [
        (weight.unsqueeze(-1) * value).sum(way.axis).flatten(3)
        for weight, value in zip(weights, values, strict=True)
    ]
    total = way.total(heard).unflatten(2, values[0].shape[-2:])
    found: Tensor = total / torch.where(sums > 0, sums, 1.0).unsqueeze(-1)
    return found
