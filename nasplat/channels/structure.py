"""The form of a parameter graph: neurons, blocks of weights between them, vectors on them. No tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Numbers = NDArray[np.int64]

COLUMNS = ("bias", "scale", "shift", "mean", "variance")
"""What a neuron may carry: the bias of its layer, and scale, shift, running mean and variance of its norm."""

DEFAULTS = (0.0, 1.0, 0.0, 0.0, 1.0)
"""The values of COLUMNS for a neuron that has none."""

SIDES = 2
"""A neuron that is the sum of two layers, such as a residual block's last convolution and its shortcut's, carries
COLUMNS twice: its features are COLUMNS of the first, then COLUMNS of the second."""

JOINS = ("sum", "product", "norm", "position", "attention", "gate", "opaque")
"""Kinds of edges without weights, one neuron to one: operand of a sum; factor of a product; into a norm that stands
alone; two rows of neurons that one axis holds at different positions; query or key to value; gate to the state of a
recurrent cell; through an operation whose effect on channels is not known."""


@dataclass(frozen=True, slots=True)
class Neurons:
    """A row of neurons, the channels that one operation gives: nodes start to stop of the graph.

    name: the module or graph node that gives them. kind: "input", "conv", "linear", "embedding", "norm", "sum",
    "constant" (a parameter used as it stands), "position" (tokens or places, not permutable), "opaque" and the like.
    activation: the word of the first activation behind them, or "". depth: the number of rows before, in order of
    running.
    """

    name: str
    kind: str
    start: int
    stop: int
    depth: int
    activation: str = ""

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """The weights of one parameter as edges: every source of a group to every target of that group.

    sources (g, i) and targets (g, o) are node numbers. An edge carries k = prod(kernel) numbers: a slice of a
    convolution, the places that flattening gave a channel, or one number (kernel ()).
    split and order say how the parameter, which has `axes` axes, is read without a copy:
    `tensor.reshape(split).permute(order)` has the axes (g, o, i, *kernel).
    """

    parameter: str
    kind: str
    sources: Numbers
    targets: Numbers
    kernel: tuple[int, ...]
    axes: int
    split: tuple[int, ...]
    order: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(g, o, i, k)."""
        groups, inputs = self.sources.shape
        return groups, self.targets.shape[1], inputs, math.prod(self.kernel)

    def view(self, tensor: Tensor) -> Tensor:
        """The parameter (*batch, *shape) as (*batch, g, o, i, k); shares memory wherever strides allow it."""
        front = tensor.shape[: tensor.ndim - self.axes]
        b = len(front)
        turned = tensor.reshape(*front, *self.split).permute(*range(b), *(b + axis for axis in self.order))
        return turned.reshape(*front, *self.shape)

    def unview(self, edges: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The inverse: edges (*batch, g, o, i, k) as the parameter (*batch, *shape)."""
        front, b = edges.shape[:-4], edges.ndim - 4
        back = [self.order.index(axis) for axis in range(len(self.order))]
        spread = edges.reshape(*front, *(self.split[axis] for axis in self.order))
        return spread.permute(*range(b), *(b + axis for axis in back)).reshape(*front, *shape)


@dataclass(frozen=True, slots=True, eq=False)
class Vector:
    """A parameter or buffer with one number for each of some neurons: nodes (n,), in the order of its elements.

    column: one of COLUMNS; side: 0 or 1, see SIDES.
    """

    parameter: str
    column: str
    side: int
    nodes: Numbers

    @property
    def feature(self) -> int:
        """The number of the node feature that holds it."""
        return self.side * len(COLUMNS) + COLUMNS.index(self.column)


@dataclass(frozen=True, slots=True, eq=False)
class Join:
    """Edges without weights, sources (n,) to targets (n,), of a kind in JOINS."""

    kind: str
    sources: Numbers
    targets: Numbers


@dataclass(frozen=True, slots=True, eq=False)
class GraphStructure:
    """All of a parameter graph but the numbers in it.

    shapes: of every tensor of the module's `state_dict`, by name; aliases: second names of tensors that have two, as
    tied embeddings do, to the first, which alone is in shapes. Each tensor lies in one block, in one or several vectors
    (together they hold every element), or in `rest`: tensors that belong to no channel, which travel unchanged.
    positions (nodes,): for neurons that may not be permuted (inputs, outputs, tokens, frozen ones) their place in
    their row, else -1.
    """

    neurons: tuple[Neurons, ...]
    blocks: tuple[Block, ...]
    vectors: tuple[Vector, ...]
    joins: tuple[Join, ...]
    rest: tuple[str, ...]
    positions: Numbers
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)

    @property
    def nodes(self) -> int:
        """The number of neurons."""
        return len(self.positions)

    @property
    def edges(self) -> int:
        """The number of edges: those of all blocks, and the joins."""
        return sum(math.prod(block.shape[:3]) for block in self.blocks) + sum(
            len(j.sources) for j in self.joins
        )
