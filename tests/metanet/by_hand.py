"""Parameter graphs of small networks, written down by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from nasplat.channels.graph import ParameterGraph
from nasplat.channels.structure import Block, GraphStructure, Join, Neurons, Vector

Nodes = NDArray[np.int64]
Layer = tuple[str, int, tuple[int, ...]]
"""kind ("conv", "linear" or "depthwise"), neurons, kernel."""

CNN: tuple[Layer, ...] = (("conv", 4, (3, 3)), ("conv", 6, (3, 3)), ("linear", 3, ()))
DEPTHWISE: tuple[Layer, ...] = (
    ("conv", 4, (1, 1)),
    ("depthwise", 4, (3, 3)),
    ("conv", 4, (1, 1)),
    ("linear", 3, ()),
)
MLP: tuple[Layer, ...] = (("linear", 5, ()), ("linear", 6, ()), ("linear", 3, ()))


def structure(
    layers: Sequence[Layer] = CNN,
    inputs: int = 2,
    activation: str = "relu",
    norms: bool = False,
    skips: Sequence[tuple[int, int]] = (),
) -> GraphStructure:
    """A chain of layers; skips are pairs of layers, the output of the first being added to that of the second."""
    rows = [Neurons("x", "input", 0, inputs, 0)]
    blocks, vectors, shapes = list[Block](), list[Vector](), dict[str, tuple[int, ...]]()
    for i, (kind, width, kernel) in enumerate(layers):
        hidden = i < len(layers) - 1
        before, start = nodes_of(rows[-1]), rows[-1].stop
        word = "conv" if kind == "depthwise" else kind
        rows.append(Neurons(f"l{i}", word, start, start + width, i + 1, activation if hidden else ""))
        blocks.append(_block(f"l{i}.weight", kind, before, nodes_of(rows[-1]), kernel))
        shapes[f"l{i}.weight"] = (width, 1 if kind == "depthwise" else len(before), *kernel)
        columns = [("bias", "bias")]
        if norms and hidden:
            columns += [("scale", "n.weight"), ("shift", "n.bias"), ("mean", "n.mean"), ("variance", "n.var")]
        for column, name in columns:
            vectors.append(Vector(f"l{i}.{name}", column, 0, nodes_of(rows[-1])))
            shapes[f"l{i}.{name}"] = (width,)
    joins = [Join("sum", nodes_of(rows[a + 1]), nodes_of(rows[b + 1])) for a, b in skips]
    positions = np.full(rows[-1].stop, -1)
    for row in (rows[0], rows[-1]):
        positions[row.start : row.stop] = np.arange(len(row))
    return GraphStructure(tuple(rows), tuple(blocks), tuple(vectors), tuple(joins), (), positions, shapes)


def _block(name: str, kind: str, before: Nodes, after: Nodes, kernel: tuple[int, ...]) -> Block:
    if kind == "depthwise":
        sources, targets = before[:, None], after[:, None]
    else:
        sources, targets = before[None], after[None]
    split = (len(sources), targets.shape[1], sources.shape[1], *kernel)
    return Block(name, kind, sources, targets, kernel, 2 + len(kernel), split, tuple(range(len(split))))


def nodes_of(row: Neurons) -> Nodes:
    return np.arange(row.start, row.stop)


def filled(
    form: GraphStructure, seed: int = 0, batch: tuple[int, ...] = (), dtype: torch.dtype = torch.float64
) -> ParameterGraph:
    """Random numbers in every tensor; variances are positive."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        name: torch.randn(*batch, *shape, generator=generator, dtype=dtype)
        / math.sqrt(math.prod(shape[1:]) or 1)
        for name, shape in form.shapes.items()
    }
    return ParameterGraph(form, {n: t.exp() if n.endswith("n.var") else t for n, t in tensors.items()})


def relabelled(form: GraphStructure, seed: int) -> tuple[GraphStructure, Nodes]:
    """The same form whose neurons have other numbers within their rows: new (nodes,) is the number that each got."""
    rng = np.random.default_rng(seed)
    new = np.arange(form.nodes)
    for row in form.neurons:
        if form.positions[row.start] < 0:
            new[row.start : row.stop] = row.start + rng.permutation(len(row))
    blocks = (replace(b, sources=new[b.sources], targets=new[b.targets]) for b in form.blocks)
    vectors = (replace(v, nodes=new[v.nodes]) for v in form.vectors)
    joins = (replace(j, sources=new[j.sources], targets=new[j.targets]) for j in form.joins)
    return replace(form, blocks=tuple(blocks), vectors=tuple(vectors), joins=tuple(joins)), new


def permuted(graph: ParameterGraph, seed: int) -> tuple[ParameterGraph, Nodes]:
    """The tensors of a network with the neurons of each hidden row in another order, its form as it was: for
    chains without depthwise layers and skips. old (nodes,): which neuron stands at each number now."""
    rng = np.random.default_rng(seed)
    form, old = graph.structure, np.arange(graph.structure.nodes)
    for row in form.neurons[1:-1]:
        old[row.start : row.stop] = row.start + rng.permutation(len(row))
    tensors, front = dict(graph.tensors), len(graph.batch)
    for block in form.blocks:
        tensor = tensors[block.parameter]
        for axis, nodes in ((front, block.targets[0]), (front + 1, block.sources[0])):
            tensor = tensor.index_select(axis, torch.from_numpy(old[nodes] - nodes[0]))
        tensors[block.parameter] = tensor
    for vector in form.vectors:
        order = torch.from_numpy(old[vector.nodes] - vector.nodes[0])
        tensors[vector.parameter] = tensors[vector.parameter].index_select(front, order)
    return ParameterGraph(form, tensors), old
