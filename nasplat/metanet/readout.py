"""From hidden states of neurons and weights to numbers of layers and of whole networks, in any order of neurons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from nasplat.channels.structure import GraphStructure
from nasplat.metanet.state import GraphState
from nasplat.metanet.statistics import rows_of

Pooling: TypeAlias = Literal["mean", "max", "deviation", "attention"]


FLOOR = 1e-6  # of a variance, under its root


class Pool(nn.Module):
    """Pools a set, (m, n, H) -> (m, H): by its mean, its largest numbers, its standard deviation, or a mean weighted by
    the softmax of a learned score (arXiv:1802.04712, without its gate)."""

    def __init__(self, width: int, pooling: Pooling) -> None:
        super().__init__()
        self.pooling = pooling
        self.score = nn.Linear(width, 1) if pooling == "attention" else None

    def forward(self, values: Tensor) -> Tensor:
        if self.score is not None:
            found: Tensor = (self.score(values).softmax(1) * values).sum(1)
            return found
        if self.pooling == "deviation":
            return (values.var(1, correction=0) + FLOOR).sqrt()
        return values.max(1).values if self.pooling == "max" else values.mean(1)


class LayerReadOut(nn.Module):
    """A code of every row of neurons: (m, rows, code).

    Its neurons are pooled, and so are the weights of each block that leads to it, whose mean over blocks counts.
    """

    def __init__(self, width: int, code: int, poolings: Sequence[Pooling] = ("mean", "max")) -> None:
        super().__init__()
        self.nodes, self.edges = (nn.ModuleList(Pool(width, way) for way in poolings) for _ in range(2))
        self.code = nn.Sequential(
            nn.Linear(2 * len(poolings) * width, code), nn.SiLU(), nn.Linear(code, code)
        )

    def forward(self, state: GraphState, structure: GraphStructure) -> Tensor:
        rows = [_pooled(self.nodes, state.nodes[:, row.start : row.stop]) for row in structure.neurons]
        nodes = torch.stack(rows, 1)
        found: Tensor = self.code(torch.cat([nodes, self._weights(state, structure, nodes)], 2))
        return found

    def _weights(self, state: GraphState, structure: GraphStructure, like: Tensor) -> Tensor:
        """Pooled weights of the blocks that lead to each row, (m, rows, poolings * H); 0 for none."""
        none = torch.zeros_like(like)
        if not state.edges:
            return none
        rows = rows_of(structure)[[int(block.targets.flat[0]) for block in structure.blocks]]
        count = torch.bincount(rows, minlength=like.shape[1]).clamp(min=1)
        blocks = torch.stack([_pooled(self.edges, edges.flatten(1, 3)) for edges in state.edges], 1)
        return none.index_add(1, rows.to(like.device), blocks) / count.to(like.device)[:, None]


class NetworkReadOut(nn.Module):
    """Numbers of a whole network, (m, outputs), from codes of its rows: their mean, largest numbers, and the last."""

    def __init__(self, code: int, outputs: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.head = nn.Sequential(
            nn.Linear(3 * code, code), nn.SiLU(), nn.Dropout(dropout), nn.Linear(code, outputs)
        )

    def forward(self, layers: Tensor) -> Tensor:
        """layers (m, rows, code), in the order of running."""
        found: Tensor = self.head(network_code(layers))
        return found


def network_code(layers: Tensor) -> Tensor:
    """Mean, largest and last of the codes of rows: (m, rows, code) -> (m, 3 code)."""
    return torch.cat([layers.mean(1), layers.amax(1), layers[:, -1]], 1)


def _pooled(pools: nn.ModuleList, values: Tensor) -> Tensor:
    return torch.cat([pool(values) for pool in pools], 1)
