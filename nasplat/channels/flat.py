"""A parameter graph as flat lists of nodes and edges, for graph networks of torch_geometric.

Data(x, edge_index, edge_attr, ...) holds, for N neurons and E edges (those of every block, group by group, target by
target, source by source; then the joins):
x (N, 10) the node features; kind, activation, row, depth, position (N,), see `structure.Neurons`, words as numbers of
`vocabulary`; edge_index (2, E), from source to target; edge_attr (E, K) the kernels, each in the middle of
K numbers as `KernelGrid` lays them, and 1 in the middle for a join; edge_type (E,) the word of the block or join;
edge_block (E,) the number of the block, joins counting on.
A grid of 7x7 for three edges of many is 49 numbers for every edge: large networks are better read in blocks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from nasplat.channels.graph import ParameterGraph
from nasplat.channels.structure import Block, GraphStructure, Numbers
from nasplat.channels.vocabulary import ACTIVATIONS, EDGE_KINDS, NODE_KINDS, number
from nasplat.errors import NasplatError

if TYPE_CHECKING:
    from torch_geometric.data import Data


def to_pyg(graph: ParameterGraph) -> Data:
    """See above. NasplatError: a batch, which is many graphs."""
    from torch_geometric.data import Data

    form = alone(graph).structure
    x, grid = graph.features, kernel_grid(form)
    kernels = [_on_grid(block, edges, grid) for block, edges in zip(form.blocks, graph.edges, strict=True)]
    return Data(
        x=x,
        edge_index=tensor(edge_index(form), x),
        edge_attr=torch.cat([*kernels, _joined(form, grid, x)]),
        **{name: tensor(column, x) for name, column in {**node_columns(form), **edge_columns(form)}.items()},
    )


def replace_from(graph: ParameterGraph, data: Data) -> ParameterGraph:
    """The graph with the node features and kernels of `data`; what a grid holds beside a kernel is passed over."""
    form = alone(graph).structure
    grid = kernel_grid(form)
    check_same(data, edge_index(form), (form.nodes, graph.features.shape[-1]), grid.width)
    parts = torch.split(data.edge_attr, [math.prod(block.shape[:3]) for block in form.blocks] + [joins(form)])
    edges = [
        part[:, tensor(grid.places(block.kernel), part)].reshape(block.shape)
        for block, part in zip(form.blocks, parts, strict=False)
    ]
    return graph.replace(data.x, edges)


def alone(graph: ParameterGraph) -> ParameterGraph:
    """The graph; NasplatError: it is a batch."""
    if graph.batch:
        raise NasplatError(f"{graph!r} is a batch: take its networks one by one with `unstack_graphs(graph)`")
    return graph


def check_same(data: Data, index: Numbers, nodes: tuple[int, int], width: int) -> None:
    """NasplatError: the lists are not those of this graph, or in another order."""
    found = tuple(data.x.shape), tuple(data.edge_attr.shape)
    expected = nodes, (index.shape[1], width)
    if found != expected:
        raise NasplatError(
            f"data with x and edge_attr of shapes {found}, the graph has {expected}; give back what `to_pyg` gave"
        )
    if not torch.equal(data.edge_index.cpu(), torch.from_numpy(index)):
        raise NasplatError("data with its edges in another order; give them back in the order of `to_pyg`")


def edge_index(form: GraphStructure) -> Numbers:
    """The ends (2, E) of all edges."""
    parts = [block_ends(block) for block in form.blocks]
    parts += [np.stack((join.sources, join.targets)) for join in form.joins]
    return np.concatenate([np.empty((2, 0), np.int64), *parts], axis=1)


def block_ends(block: Block) -> Numbers:
    """The ends (2, g * o * i) of a block's edges."""
    sources = np.broadcast_to(block.sources[:, None, :], block.shape[:3])
    targets = np.broadcast_to(block.targets[:, :, None], block.shape[:3])
    return np.stack((sources.ravel(), targets.ravel()))


def node_columns(form: GraphStructure) -> dict[str, Numbers]:
    """What is known of every neuron beside its numbers, by name: (nodes,) each."""
    sizes = [len(row) for row in form.neurons]
    by_row = {
        "kind": [number(row.kind, NODE_KINDS) for row in form.neurons],
        "activation": [number(row.activation, ACTIVATIONS) for row in form.neurons],
        "row": range(len(sizes)),
        "depth": [row.depth for row in form.neurons],
    }
    columns = {name: np.repeat(np.array(values, np.int64), sizes) for name, values in by_row.items()}
    return {**columns, "position": form.positions}


def edge_columns(form: GraphStructure) -> dict[str, Numbers]:
    """What is known of every edge beside its kernel, by name: (edges,) each."""
    kinds = [
        number(kind, EDGE_KINDS)
        for kind in [part.kind for part in form.blocks] + [j.kind for j in form.joins]
    ]
    sizes = [math.prod(block.shape[:3]) for block in form.blocks] + [len(join.sources) for join in form.joins]
    return {
        "edge_type": np.repeat(np.array(kinds, np.int64), sizes),
        "edge_block": np.repeat(np.arange(len(sizes)), sizes),
    }


@dataclass(frozen=True, slots=True)
class KernelGrid:
    """Where kernels of several sizes lie in one row of `width` numbers, middle on middle.

    sides: of the smallest grid that takes every kernel of most axes, which it holds centred, and a single number in its
    middle. Kernels of fewer axes, such as the places of a flattened map, lie in the row as they are.
    """

    sides: tuple[int, ...]
    width: int

    def places(self, kernel: tuple[int, ...]) -> Numbers:
        """Where the numbers of a kernel lie in the row, (k,)."""
        if kernel and len(kernel) < len(self.sides):
            size = math.prod(kernel)
            return np.arange(size) + self.width // 2 - size // 2
        window = tuple(
            slice(g // 2 - k // 2, g // 2 - k // 2 + k)
            for g, k in zip(self.sides, kernel or self.ones, strict=True)
        )
        cells = np.arange(math.prod(self.sides)).reshape(self.sides)
        return cells[window].ravel() + self.width // 2 - cells.size // 2

    @property
    def ones(self) -> tuple[int, ...]:
        """The kernel of a single number, with as many axes as the grid."""
        return (1,) * len(self.sides)


def kernel_grid(form: GraphStructure) -> KernelGrid:
    """The grid of a network."""
    rank = max((len(block.kernel) for block in form.blocks), default=0)
    large = [block.kernel for block in form.blocks if len(block.kernel) == rank]
    sides = tuple(max(side) for side in zip(*large, strict=True))
    return KernelGrid(sides, max([math.prod(sides), *(math.prod(block.kernel) for block in form.blocks)]))


def joins(form: GraphStructure) -> int:
    """The number of edges without weights."""
    return sum(len(join.sources) for join in form.joins)


def tensor(numbers: Numbers, like: Tensor) -> Tensor:
    """Numbers on the device of a tensor."""
    return torch.from_numpy(np.ascontiguousarray(numbers)).to(like.device)


def _on_grid(block: Block, edges: Tensor, grid: KernelGrid) -> Tensor:
    flat = edges.reshape(-1, edges.shape[-1])
    return flat.new_zeros(len(flat), grid.width).index_copy(1, tensor(grid.places(block.kernel), flat), flat)


def _joined(form: GraphStructure, grid: KernelGrid, like: Tensor) -> Tensor:
    return like.new_zeros(joins(form), grid.width).index_fill(1, tensor(grid.places(()), like), 1.0)
