"""Principal neighbourhood aggregation over parameter graphs, with messages that edges scale and shift."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.channels.graph import ParameterGraph
from nasplat.metanet.directions import Direction, closed, directions, opened
from nasplat.metanet.encoders import GraphEncoder
from nasplat.metanet.state import GraphState

AGGREGATES = 4  # mean, deviation, largest, smallest
DEGREE = 16  # where the scaler by degree is 1; PNA takes the mean over its training graphs
FLOOR = 1e-5  # of a variance, under its root


class Pna(nn.Module):
    """In the spirit of NG-GNN (arXiv:2403.12143): PNA (arXiv:2004.05718) whose edges modulate messages as in FiLM.

    Half of the channels go along edges and half against them, in place of reversed features. width H is that of nodes
    and edges, even; grid: the largest kernel. Shapes: m networks of one form -> GraphState of width H.
    """

    def __init__(self, width: int = 32, layers: int = 3, grid: int = 7) -> None:
        super().__init__()
        self.encoder = GraphEncoder(width, grid)
        self.layers = nn.ModuleList(PnaLayer(width) for _ in range(layers))

    def forward(self, graph: ParameterGraph) -> GraphState:
        state = self.encoder(graph)
        ways = directions(graph.structure, state.nodes.device)
        nodes, edges = state.nodes, opened(state)
        for layer in self.layers:
            nodes, edges = layer(nodes, edges, ways)
        return closed(nodes, edges, graph.structure)


class PnaLayer(nn.Module):
    """m_uv = scale(e_uv) * send(x_u) + shift(e_uv); x_v += MLP[x_v, aggregates of m_uv]; then
    e_uv += SiLU(W e_uv + W' x_u + W'' x_v).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.norm = nn.LayerNorm(width)
        self.send = nn.ModuleList(nn.Linear(width, half) for _ in range(2))
        self.scale = nn.ModuleList(nn.Linear(width, half) for _ in range(2))
        self.shift = nn.ModuleList(nn.Linear(width, half) for _ in range(2))
        self.mix = nn.Sequential(
            nn.Linear(width + 2 * 2 * AGGREGATES * half, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.edge = nn.Linear(width, width)
        self.ends = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(2))

    def forward(
        self, nodes: Tensor, edges: Sequence[Tensor], ways: tuple[Direction, Direction]
    ) -> tuple[Tensor, list[Tensor]]:
        """nodes (m, nodes, H) and edges (m, g, o, i, H) after one round."""
        x = self.norm(nodes)
        heard = [self._heard(x, edges, way, k) for k, way in enumerate(ways)]
        nodes = nodes + self.mix(torch.cat([x, *heard], 2))
        x = self.norm(nodes)
        sources, targets = (way.sent(end(x)) for way, end in zip(ways, self.ends, strict=True))
        return nodes, [
            e + F.silu(self.edge(e) + source + target)
            for e, source, target in zip(edges, sources, targets, strict=True)
        ]

    def _heard(self, x: Tensor, edges: Sequence[Tensor], way: Direction, k: int) -> Tensor:
        """Four aggregates in one direction, as they are and amplified by degree: (m, nodes, 8 H / 2)."""
        messages = [
            torch.addcmul(self.shift[k](e), self.scale[k](e), sent)
            for e, sent in zip(edges, way.sent(self.send[k](x)), strict=True)
        ]
        found = aggregates(messages, way)
        amplified = (way.degree + 1).log() / math.log(DEGREE + 1)
        return torch.cat([found, found * amplified[:, None]], 2)


def aggregates(messages: Sequence[Tensor], way: Direction) -> Tensor:
    """Mean, deviation, largest and smallest of messages (m, g, o, i, h) at their receivers, (m, nodes, 4 h);
    0 where there are none."""
    sums = [torch.cat([m.sum(way.axis), m.square().sum(way.axis)], 3) for m in messages]
    ends = [torch.cat([m.max(way.axis).values, -m.min(way.axis).values], 3) for m in messages]
    count = way.degree.clamp(min=1)[:, None]
    mean, square = (way.total(sums) / count).chunk(2, 2)
    deviation = ((square - mean.square()).clamp(min=0) + FLOOR).sqrt() - math.sqrt(FLOOR)
    largest, smallest = way.largest(ends).chunk(2, 2)
    return torch.cat([mean, deviation, largest, -smallest], 2)
