"""Weights of any size on one scale."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from nasplat.channels.graph import ParameterGraph
from nasplat.channels.structure import COLUMNS, SIDES
from nasplat.metanet.words import KINDS, block_words


class Standard(nn.Module):
    """Standardises parameter graphs as those it has learned from, and draws in what lies far outside.

    Weights are divided by the root mean square of their kind of block (of all blocks for a kind never seen), node
    features are centred and divided by the deviation of their column; then asinh, close to the identity for small and
    to a logarithm for large numbers: one diverged network must not drown the rest. Both sides share columns.
    """

    centre: Tensor  # (5,) of COLUMNS
    width: Tensor  # (5,)
    size: Tensor  # (kinds,) of blocks

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(len(COLUMNS)))
        self.register_buffer("width", torch.ones(len(COLUMNS)))
        self.register_buffer("size", torch.ones(len(KINDS) + 1))

    @torch.no_grad()
    def learn(self, graphs: Iterable[ParameterGraph]) -> None:
        """Measure training networks; medians over networks of what each is like, so that no single one decides."""
        columns: list[list[Tensor]] = [[] for _ in COLUMNS]
        kinds: list[list[Tensor]] = [[] for _ in self.size]
        for graph in graphs:
            for vector in graph.structure.vectors:
                values = graph.tensors[vector.parameter].reshape(*graph.batch, -1)
                columns[COLUMNS.index(vector.column)].append(_like(values))
            for kind, edges in zip(block_words(graph.structure)[0].tolist(), graph.edges, strict=True):
                kinds[kind].append(edges.flatten(-4).square().mean(-1).sqrt().reshape(-1))
        for i, found in enumerate(columns):
            if found:
                self.centre[i], self.width[i] = _middle(torch.cat(found))
        every = torch.cat([size for found in kinds for size in found] or [self.size])
        for i, sizes in enumerate(kinds):
            self.size[i] = (torch.cat(sizes) if sizes else every).median().clamp(min=1e-8)

    def forward(self, graph: ParameterGraph) -> ParameterGraph:
        centre, width = (values.repeat(SIDES) for values in (self.centre, self.width))
        features = torch.asinh((graph.features - centre) / width)
        kinds = block_words(graph.structure)[0].tolist()
        edges = [
            torch.asinh(values / self.size[kind]) for kind, values in zip(kinds, graph.edges, strict=True)
        ]
        return graph.replace(features, edges)


def _like(values: Tensor) -> Tensor:
    """Mean and mean square of the numbers (*batch, n) of each network, (networks, 2)."""
    return torch.stack([values.mean(-1), values.square().mean(-1)], -1).reshape(-1, 2)


def _middle(found: Tensor) -> tuple[Tensor, Tensor]:
    """Centre and deviation of a column from its means and mean squares (m, 2)."""
    mean, square = found.median(0).values
    return mean, (square - mean.square()).clamp(min=0).sqrt().clamp(min=1e-3)
