"""Every parameter an edge: the multigraph of Graph Metanetworks (arXiv:2312.04501), in its spirit.

Two neurons that a kernel of k numbers connects have k parallel edges. A bias, and scale and shift of a norm, have a
node of their own with one edge to every neuron that they act on. Joins are edges of weight 1. Data holds, for N neurons
followed by one node for each vector of parameters, and E edges (blocks, then vectors, then joins):
x (N', 4) running mean and variance of both sides, which are no parameters; edge_index (2, E); edge_attr (E, 1) the
parameter; edge_place (E, 3) its place in the kernel, counted from the middle; kind, row, depth, ... as in `flat`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from nasplat.channels import flat
from nasplat.channels.graph import ParameterGraph
from nasplat.channels.structure import COLUMNS, DEFAULTS, SIDES, Block, GraphStructure, Numbers, Vector
from nasplat.channels.vocabulary import EDGE_KINDS, NODE_KINDS, number

if TYPE_CHECKING:
    from torch_geometric.data import Data

STATISTICS = ("mean", "variance")
"""The columns that are features of nodes here: no parameters."""


def to_pyg(graph: ParameterGraph) -> Data:
    """See above. NasplatError: a batch, which is many graphs."""
    from torch_geometric.data import Data

    form, features = flat.alone(graph).structure, graph.features
    extra = features.new_tensor(DEFAULTS * SIDES).expand(len(_vectors(form)), -1)
    weights = [edges.reshape(-1) for edges in graph.edges]
    weights += [features[flat.tensor(v.nodes, features), v.feature] for v in _vectors(form)]
    weights.append(features.new_ones(flat.joins(form)))
    columns = {**_node_columns(form), **_edge_columns(form)}
    return Data(
        x=torch.cat([features, extra])[:, flat.tensor(_statistics(), features)],
        edge_index=flat.tensor(_edge_index(form), features),
        edge_attr=torch.cat(weights)[:, None],
        **{name: flat.tensor(column, features) for name, column in columns.items()},
    )


def replace_from(graph: ParameterGraph, data: Data) -> ParameterGraph:
    """The graph with the parameters and running statistics of `data`."""
    form = flat.alone(graph).structure
    vectors, nodes = _vectors(form), form.nodes
    flat.check_same(data, _edge_index(form), (nodes + len(vectors), len(_statistics())), 1)
    sizes = [math.prod(block.shape) for block in form.blocks] + [len(v.nodes) for v in vectors]
    parts = torch.split(data.edge_attr[:, 0], [*sizes, flat.joins(form)])
    edges = [part.reshape(block.shape) for part, block in zip(parts, form.blocks, strict=False)]
    features = graph.features.index_copy(1, flat.tensor(_statistics(), data.x), data.x[:nodes])
    flattened = features.reshape(-1)
    for vector, part in zip(vectors, parts[len(form.blocks) :], strict=False):
        places = vector.nodes * features.shape[1] + vector.feature
        flattened = flattened.index_copy(0, flat.tensor(places, part), part)
    return graph.replace(flattened.reshape(features.shape), edges)


def _vectors(form: GraphStructure) -> list[Vector]:
    return [vector for vector in form.vectors if vector.column not in STATISTICS]


def _statistics() -> Numbers:
    """The node features that are running statistics."""
    columns = [COLUMNS.index(name) for name in STATISTICS]
    return np.array([side * len(COLUMNS) + column for side in range(SIDES) for column in columns])


def _edge_index(form: GraphStructure) -> Numbers:
    parts = [flat.block_ends(block).repeat(block.shape[3], axis=1) for block in form.blocks]
    for place, vector in enumerate(_vectors(form), form.nodes):
        parts.append(np.stack((np.full_like(vector.nodes, place), vector.nodes)))
    parts += [np.stack((join.sources, join.targets)) for join in form.joins]
    return np.concatenate([np.empty((2, 0), np.int64), *parts], axis=1)


def _node_columns(form: GraphStructure) -> dict[str, Numbers]:
    """The extra nodes stand in the row of the first neuron they act on, and are told apart by their column."""
    columns, vectors = flat.node_columns(form), _vectors(form)
    first = np.array([vector.nodes[0] for vector in vectors], np.int64)
    extra = {name: column[first] for name, column in columns.items()}
    extra["kind"] = np.array([number(vector.column, NODE_KINDS) for vector in vectors], np.int64)
    extra["position"] = np.full_like(first, -1)
    return {name: np.concatenate((column, extra[name])) for name, column in columns.items()}


def _edge_columns(form: GraphStructure) -> dict[str, Numbers]:
    parts = [(block.kind, _places(block)) for block in form.blocks]
    parts += [(vector.column, np.zeros((len(vector.nodes), 3), np.int64)) for vector in _vectors(form)]
    parts += [(join.kind, np.zeros((len(join.sources), 3), np.int64)) for join in form.joins]
    sizes = [len(places) for _, places in parts]
    kinds = np.array([number(kind, EDGE_KINDS) for kind, _ in parts], np.int64)
    return {
        "edge_type": np.repeat(kinds, sizes),
        "edge_block": np.repeat(np.arange(len(sizes)), sizes),
        "edge_place": np.concatenate([np.empty((0, 3), np.int64), *(places for _, places in parts)]),
    }


def _places(block: Block) -> Numbers:
    """Where the number of every edge stands in its kernel, (g * o * i * k, 3), 0 in the middle of each axis."""
    sides = (math.prod(block.kernel[:-2]), *(1, 1, *block.kernel)[-2:])
    places = np.indices(sides).reshape(3, -1).T - np.array([side // 2 for side in sides])
    return np.tile(places, (math.prod(block.shape[:3]), 1))
