"""From the numbers and words of a parameter graph to hidden states of width H, for any architecture."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.channels.graph import ParameterGraph
from nasplat.channels.structure import COLUMNS, JOINS, SIDES, Block
from nasplat.channels.vocabulary import ACTIVATIONS
from nasplat.errors import DataError
from nasplat.metanet.state import GraphState, edges_of, features_of
from nasplat.metanet.words import KINDS, PLACE, block_words, node_words, places


class NodeEncoder(nn.Module):
    """Node features and what is known of a node as hidden states (m, nodes, H).

    words: adds an embedding of the kind of the row and one of its activation, and a linear map of depth and position:
    one model then reads any architecture. Without: a linear map of the ten features alone (arXiv:2506.12041).
    """

    def __init__(self, width: int, words: bool = True) -> None:
        super().__init__()
        self.features = nn.Linear(SIDES * len(COLUMNS), width)
        self.kind = nn.Embedding(len(KINDS) + 1, width) if words else None
        self.activation = nn.Embedding(len(ACTIVATIONS) + 1, width) if words else None
        self.place = nn.Linear(PLACE, width, bias=False) if words else None

    def forward(self, graph: ParameterGraph) -> Tensor:
        """Hidden states (m, nodes, H)."""
        hidden: Tensor = self.features(features_of(graph))
        if self.kind is None or self.activation is None or self.place is None:
            return hidden
        kinds, activations = (words.to(hidden.device) for words in node_words(graph.structure))
        place = self.place(places(graph.structure).to(hidden))
        known: Tensor = self.kind(kinds) + self.activation(activations) + place
        return hidden + known


class EdgeEncoder(nn.Module):
    """Kernels as hidden states (m, g, o, i, H) of every block, and joins as (m, n, H).

    One linear map reads every kernel, centred on a grid of `grid` by `grid` numbers that are zero elsewhere. A single
    number is a kernel of one, a kernel of one axis lies in the middle row, an even kernel has its centre behind the
    middle. A join is a kernel of one with the value 1. words: adds an embedding of the kind of block or join
    (arXiv:2403.12143); without: as in arXiv:2506.12041.
    """

    def __init__(self, width: int, grid: int = 3, words: bool = True) -> None:
        super().__init__()
        self.grid = grid
        self.kernel = nn.Linear(grid * grid, width)
        self.kind = nn.Embedding(len(KINDS) + 1, width) if words else None
        self.join = nn.Embedding(len(JOINS) + 1, width) if words else None

    def forward(self, graph: ParameterGraph) -> tuple[list[Tensor], list[Tensor]]:
        """States of blocks and states of joins. DataError: a kernel larger than the grid."""
        blocks, joins = block_words(graph.structure)
        batch = math.prod(graph.batch)
        bias: Tensor = self.kernel.bias
        offsets = (
            bias.expand(len(blocks), -1) if self.kind is None else bias + self.kind(blocks.to(bias.device))
        )
        edges = [
            F.linear(weights, self.weight(block), offset)
            for block, weights, offset in zip(
                graph.structure.blocks, edges_of(graph), offsets.unbind(), strict=True
            )
        ]
        one = bias + self.kernel.weight[:, self.grid * self.grid // 2]
        ones = one.expand(len(joins), -1) if self.join is None else one + self.join(joins.to(bias.device))
        sizes = [len(join.sources) for join in graph.structure.joins]
        return edges, [row.expand(batch, n, -1) for row, n in zip(ones.unbind(), sizes, strict=True)]

    def weight(self, block: Block) -> Tensor:
        """The columns (H, k) of the linear map that read the kernels of a block."""
        columns = kernel_places(block, self.grid)
        return self.kernel.weight[:, torch.tensor(columns, device=self.kernel.weight.device)]


def kernel_places(block: Block, grid: int) -> list[int]:
    """Where the numbers of a block's kernel lie on the flattened grid, in order; with grid // 2 at the centre."""
    if len(block.kernel) > 2 or max(block.kernel, default=1) > grid:
        raise DataError(
            f"{block.parameter!r} has kernels of {'x'.join(map(str, block.kernel))} numbers, which do not fit a "
            f"grid of {grid}x{grid}; give an encoder with grid={max(block.kernel) | 1}, or kernels of at most two axes"
        )
    height, width = (1, 1, *block.kernel)[-2:]
    top, left = grid // 2 - height // 2, grid // 2 - width // 2
    return [(top + y) * grid + left + x for y in range(height) for x in range(width)]


class GraphEncoder(nn.Module):
    """Both encoders: the state of a graph before the first layer."""

    def __init__(self, width: int, grid: int = 3, words: bool = True) -> None:
        super().__init__()
        self.nodes = NodeEncoder(width, words)
        self.edges = EdgeEncoder(width, grid, words)

    def forward(self, graph: ParameterGraph) -> GraphState:
        """Hidden states of width H of nodes, blocks and joins."""
        edges, joins = self.edges(graph)
        return GraphState(self.nodes(graph), edges, joins)
