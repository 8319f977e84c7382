"""A network's weights as numbers that do not depend on the order of neurons, or simply one after the other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nasplat.channels.graph import ParameterGraph
from nasplat.channels.structure import COLUMNS, GraphStructure

STATISTICS = ("mean", "variance", "minimum", "quarter", "median", "three_quarters", "maximum")
"""What is said of the numbers of a tensor, as StatNN (Unterthiner et al., arXiv:2002.11448) says it."""

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
KINDS = ("weights", *COLUMNS)


def statistics(values: Tensor) -> Tensor:
    """STATISTICS of the last axis: (..., n) -> (..., 7); the variance is that of n, 0 for one number.

    Quantiles are linear between neighbours, as those of torch, which refuses more than 16 million numbers.
    """
    spread = values.var(-1, correction=0, keepdim=True)
    ordered = values.sort(-1).values
    places = torch.tensor(QUANTILES, dtype=values.dtype, device=values.device) * (values.shape[-1] - 1)
    below = places.long()
    above = (below + 1).clamp(max=values.shape[-1] - 1)
    quantiles = torch.lerp(ordered[..., below], ordered[..., above], places - below)
    return torch.cat([values.mean(-1, keepdim=True), spread, quantiles], -1)


def by_tensor(graph: ParameterGraph) -> Tensor:
    """STATISTICS of every tensor with numbers in it, in the order of `structure.shapes`: (*batch, 7 tensors).

    Networks of one form only have equal columns. A tensor whose channels move keeps its statistics.
    """
    return torch.cat([statistics(values) for values in _flat(graph)], -1)


def by_row(graph: ParameterGraph) -> Tensor:
    """Columns that any network has, in the same places: (*batch, 6 (4 * 7 + 1) + 2).

    For weights and for each of COLUMNS, STATISTICS of every row of neurons that carries such numbers (weights count
    for the row that they lead to), and of these the first row, the last, the mean and the largest over rows, and
    the number of rows; then the logarithms of the numbers of neurons and edges. [infer] StatNN reads networks of
    one form, tensor by tensor.
    """
    found = _numbers(graph)
    parts = [_over_rows(graph, found[kind]) for kind in KINDS]
    structure = graph.structure
    sizes = torch.tensor([structure.nodes, 1 + structure.edges], dtype=parts[0].dtype).log()
    return torch.cat([*parts, sizes.to(parts[0].device).expand(*graph.batch, 2)], -1)


def flat_weights(graph: ParameterGraph) -> Tensor:
    """All numbers of a network, tensor after tensor in the order of `structure.shapes`: (*batch, numbers)."""
    return torch.cat(_flat(graph), -1)


def _flat(graph: ParameterGraph) -> list[Tensor]:
    tensors = (graph.tensors[name] for name in graph.structure.shapes)
    return [t.reshape(*graph.batch, -1) for t in tensors if t.is_floating_point()]


def _numbers(graph: ParameterGraph) -> dict[str, list[Tensor]]:
    """By kind, the numbers (*batch, n) of every row of neurons that has some, in the order of rows."""
    structure, rows = graph.structure, rows_of(graph.structure)
    found: dict[str, dict[int, list[Tensor]]] = {kind: {} for kind in KINDS}
    for block, values in zip(structure.blocks, graph.edges, strict=True):
        row = int(rows[block.targets.flat[0]])
        found["weights"].setdefault(row, []).append(values.flatten(-4))
    for vector in structure.vectors:
        values = graph.tensors[vector.parameter].reshape(*graph.batch, -1)
        row = int(rows[vector.nodes[0]])
        found[vector.column].setdefault(row, []).append(values)
    return {kind: [torch.cat(of[row], -1) for row in sorted(of)] for kind, of in found.items()}


def rows_of(structure: GraphStructure) -> Tensor:
    """The number of the row that each neuron is in, (nodes,)."""
    lengths = torch.tensor([len(row) for row in structure.neurons])
    return torch.repeat_interleave(torch.arange(len(lengths)), lengths)


def _over_rows(graph: ParameterGraph, rows: Sequence[Tensor]) -> Tensor:
    """First, last, mean and largest of the statistics of rows, and how many there are; zeros for none."""
    if not rows:
        like = _flat(graph)[0]
        return like.new_zeros(*graph.batch, 4 * len(STATISTICS) + 1)
    said = torch.stack([statistics(values) for values in rows], -2)
    count = said.new_full((*graph.batch, 1), len(rows))
    return torch.cat([said[..., 0, :], said[..., -1, :], said.mean(-2), said.amax(-2), count], -1)
