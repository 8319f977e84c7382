"""Scales and signs that a network does not show: one network of all those that compute the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nasplat.channels.graph import ParameterGraph
from nasplat.channels.structure import COLUMNS, SIDES, GraphStructure, Neurons, Numbers

POSITIVE = ("relu", "leaky_relu")
"""Activations with f(a x) = a f(x) for a > 0."""

ODD = ("tanh",)
"""Activations with f(-x) = -f(x)."""

SMALLEST = 1e-12
"""Neurons whose own numbers come to less are left as they are."""


@dataclass(frozen=True, slots=True, eq=False)
class _Row:
    """Neurons that may be scaled: nodes (n,), whether they take signs only, and the features that are their own."""

    nodes: Numbers
    signs: bool
    own: tuple[int, ...]
    weights: bool  # whether the weights that lead to them are their own too

    def touches(self, nodes: Numbers) -> bool:
        return bool(np.isin(nodes, self.nodes).any())


def canonical(graph: ParameterGraph) -> ParameterGraph:
    """The network with every hidden neuron's scale or sign taken out: it computes the same, and is the same for all
    networks that differ in these only. Gradients flow through.

    A neuron before a rectifier gets norm 1 over its own numbers, one before a tanh a sum of them that is not
    negative; the factor goes into the weights that read it. Own are the weights and the bias that lead to it, or, with
    a norm, the norm's scale and shift. ScaleGMN (arXiv:2406.10685) builds messages that are equivariant to scales and
    signs; to choose one of the equal networks is the simpler way to the same invariance [infer], whose price is that
    signs jump where a sum crosses 0.
    Left as they are: neurons with a fixed position or at an end of a join (a sum ties their scales), those of other
    activations, of shared weights, of a norm without a scale, and those that read themselves. A maximum over
    places behind a tanh breaks the symmetry of signs, which the form does not show: do not use this there.
    """
    for row in _symmetric(graph.structure):
        graph = _divided(graph, row, _factors(graph, row))
    return graph


def _symmetric(structure: GraphStructure) -> Iterator[_Row]:
    """Rows in the order of running: what a row reads has been scaled before it."""
    joined = {int(node) for join in structure.joins for node in (*join.sources, *join.targets)}
    read = {int(node) for block in structure.blocks for node in block.sources.flat}
    for neurons in sorted(structure.neurons, key=lambda row: row.depth):
        nodes = set(range(neurons.start, neurons.stop))
        free = joined.isdisjoint(nodes) and (structure.positions[neurons.start : neurons.stop] < 0).all()
        row = _row(structure, neurons)
        if free and nodes <= read and row is not None and not _tied(structure, row):
            yield row


def _row(structure: GraphStructure, neurons: Neurons) -> _Row | None:
    nodes = np.arange(neurons.start, neurons.stop)
    features = {vector.feature for vector in structure.vectors if np.isin(vector.nodes, nodes).any()}
    bias, scale, shift, *statistics = range(len(COLUMNS))
    normed = bool(features & {scale, shift, *statistics})
    second = bool(features & set(range(len(COLUMNS), SIDES * len(COLUMNS))))
    if neurons.activation not in (*POSITIVE, *ODD) or second or (normed and scale not in features):
        return None
    return _Row(nodes, neurons.activation in ODD, (scale, shift) if normed else (bias,), not normed)


def _tied(structure: GraphStructure, row: _Row) -> bool:
    uses = Counter(block.parameter for block in structure.blocks)
    ends = [(b, row.touches(b.sources), row.touches(b.targets)) for b in structure.blocks]
    return any((into and out) or ((into or out) and uses[b.parameter] > 1) for b, into, out in ends)


def _factors(graph: ParameterGraph, row: _Row) -> Tensor:
    """What divides each neuron: (*batch, nodes), 1 outside of the row."""
    power = 1 if row.signs else 2
    features = graph.features
    total = features[..., list(row.own)].pow(power).sum(-1)
    for block, values in zip(graph.structure.blocks, graph.edges, strict=True):
        if row.weights and row.touches(block.targets):
            into = torch.from_numpy(block.targets.ravel()).to(values.device)
            total = total.index_add(-1, into, values.pow(power).sum((-1, -2)).flatten(-2))
    factors = torch.where(total < 0, -1.0, 1.0) if row.signs else total.clamp(min=SMALLEST).sqrt()
    inside = torch.zeros_like(total, dtype=torch.bool)
    inside[..., torch.from_numpy(row.nodes).to(total.device)] = True
    return torch.where(inside & (total.abs() > SMALLEST), factors, 1.0)


def _divided(graph: ParameterGraph, row: _Row, factors: Tensor) -> ParameterGraph:
    features = graph.features
    features[..., list(row.own)] = features[..., list(row.own)] / factors[..., None]
    edges = []
    for block, values in zip(graph.structure.blocks, graph.edges, strict=True):
        if row.touches(block.sources):
            values = values * factors[..., torch.from_numpy(block.sources)][..., :, None, :, None]
        elif row.weights and row.touches(block.targets):
            values = values / factors[..., torch.from_numpy(block.targets)][..., None, None]
        edges.append(values)
    return graph.replace(features, edges)
