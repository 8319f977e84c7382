"""What a layer does over all edges, forward and backward: the role, and its player in plain torch operations.

For an edge with state e from source u to target v, the layer takes a1, a3 and a4 of its ends. With the factorisation of
messages a2(v) a1(u) e, only a1(u) e runs over edges: what leaves a sum, and up to its sign an extreme, is a2. So each
block is read once, as (outs, ins), and reduced along one axis for each direction; nothing is gathered or scattered
but the sums of blocks at their nodes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from nasplat.metanet.layout import Layout, Stack

CHUNK_EDGES = 2**12
"""How many edges are worked on at once on a CPU: with 64 channels, 1 MB."""

CHUNK_EDGES_DEVICE = 2**20
"""The same elsewhere."""


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """Of every node, (m, nodes, H) each: a1 is sent along edges, a3 and a4 make gates."""

    a1: Tensor
    a3: Tensor
    a4: Tensor

    @property
    def all(self) -> tuple[Tensor, Tensor, Tensor]:
        """The three."""
        return self.a1, self.a3, self.a4


@dataclass(frozen=True, slots=True, eq=False)
class Received:
    """What nodes receive. stats (m, 2, nodes, 4, H): sum, sum of squares, largest and least of a1 e over the edges that
    leave a node (from their targets), then over those that enter it (from their sources).

    ties (m, 2, nodes, 2, H): how many messages share the largest, and the least; None where no gradient is wanted.
    """

    stats: Tensor
    ties: Tensor | None


class Kernels(Protocol):
    """One pass over all edges (m, edges, H) of a layout."""

    def forward(
        self, layout: Layout, factors: Factors, edges: Tensor, out: Tensor | None, ties: bool
    ) -> Received:
        """What nodes receive; writes edges times their gates to `out`, which may be `edges`."""

    def backward(self, layout: Layout, past: Past, received: Received, grads: Tensor, g: Tensor | None) -> Gradients:
        """Gradients, from those of the stats, and of the updated edges where they are wanted; may overwrite g."""


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """A layer's factors, and its edges as earlier ones times the gates of the layers between."""

    factors: Factors
    edges: Tensor
    between: Sequence[Factors] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Gradients:
    """Of a layer's edges and factors."""

    edges: Tensor
    factors: Factors


def empty_stats(layout: Layout, like: Tensor, ties: bool) -> Received:
    """What nodes have received before the first message: (m, 2, nodes, 4, H) in the manner of `like` (m, nodes, H)."""
    m, nodes, width = like.shape
    stats = like.new_zeros(m, 2, nodes, 4, width)
    stats[..., 2, :] = -torch.inf
    stats[..., 3, :] = torch.inf
    return Received(stats, like.new_zeros(m, 2, nodes, 2, width) if ties else None)


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Some rows of some blocks of a stack: sources (b, i), targets (b, o), and a view of edges."""

    stack: Stack
    blocks: slice
    outs: slice

    @property
    def sources(self) -> Tensor:
        """Node numbers (b, i)."""
        return self.stack.sources[self.blocks]

    @property
    def targets(self) -> Tensor:
        """Node numbers (b, o)."""
        return self.stack.targets[self.blocks, self.outs]

    def view(self, edges: Tensor) -> Tensor:
        """Its part (m, b, o, i, H) of flat edges."""
        return self.stack.view(edges)[:, self.blocks, self.outs]

    def ends(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Values (m, nodes, ...) of targets (m, b, o, 1, ...) and of sources (m, b, 1, i, ...)."""
        device = values.device
        return values[:, self.targets.to(device)].unsqueeze(3), values[:, self.sources.to(device)].unsqueeze(2)


def chunks(layout: Layout, limit: int) -> Iterator[Chunk]:
    """All edges in parts of at most `limit`, or of one row of a block."""
    for stack in layout.stacks:
        blocks, outs, ins = stack.shape
        rows = max(1, min(outs, limit // ins))
        some = max(1, limit // (outs * ins)) if rows == outs else 1
        for block in range(0, blocks, some):
            for out in range(0, outs, rows):
                yield Chunk(stack, slice(block, block + some), slice(out, out + rows))


def gate(ends3: tuple[Tensor, Tensor], ends4: tuple[Tensor, Tensor]) -> Tensor:
    """1 + a3_o a4_i + a4_o a3_i, (m, b, o, i, H)."""
    return (ends3[0] * ends4[1]).add_(ends4[0] * ends3[1]).add_(1)


class TorchKernels:
    """Chunk by chunk in torch operations, on any device and in any type; edges may be of a smaller type."""

    def forward(
        self, layout: Layout, factors: Factors, edges: Tensor, out: Tensor | None, ties: bool
    ) -> Received:
        """See Kernels."""
        received = empty_stats(layout, factors.a1, ties)
        extremes: list[Extreme] = []
        for chunk in chunks(layout, _limit(edges)):
            e = chunk.view(edges)
            at, of = chunk.ends(factors.a1)
            for side, nodes, message, axis in ((0, chunk.sources, at * e, 2), (1, chunk.targets, of * e, 3)):
                extremes += _receive(received, side, nodes.flatten().to(e.device), message, axis)
            if out is not None:
                chunk.view(out).copy_(e * gate(chunk.ends(factors.a3), chunk.ends(factors.a4)))
        for extreme in extremes:
            extreme.count(received)
        return received

    def backward(self, layout: Layout, past: Past, received: Received, grads: Tensor, g: Tensor | None) -> Gradients:
        """See Kernels."""
        ge = torch.empty_like(past.edges) if g is None else g
        sums = Factors(*(torch.zeros_like(a) for a in past.factors.all))
        for chunk in chunks(layout, _limit(past.edges)):
            e = chunk.view(past.edges)
            for between in past.between:
                e = (e * gate(chunk.ends(between.a3), chunk.ends(between.a4))).to(e.dtype)
            ends = [chunk.ends(a) for a in past.factors.all]
            total = _messages_back(chunk, e, ends[0], (received.stats, grads), sums.a1)
            if g is not None:
                total += _gates_back(chunk, e, chunk.view(g), ends, sums)
            chunk.view(ge).copy_(total)
        return Gradients(ge, sums)


def _limit(edges: Tensor) -> int:
    return (CHUNK_EDGES if edges.device.type == "cpu" else CHUNK_EDGES_DEVICE) // len(edges) or 1


@dataclass(frozen=True, slots=True, eq=False)
class Extreme:
    """The extremes that some nodes (n,) receive from a chunk, values (m, n, H), and how many messages have them."""

    side: int
    least: bool
    nodes: Tensor
    values: Tensor
    ties: Tensor

    def count(self, received: Received) -> None:
        """Add its ties where it is an extreme of all that its nodes receive."""
        if received.ties is not None:
            final = received.stats[:, self.side, self.nodes, 2 + self.least]
            ties = self.ties * (self.values == final)
            received.ties[:, self.side, :, int(self.least)].index_add_(1, self.nodes, ties)


def _receive(received: Received, side: int, nodes: Tensor, message: Tensor, axis: int) -> list[Extreme]:
    """Messages (m, b, o, i, H) that nodes (n,) receive along an axis; what to count once all have come."""
    stats, extremes = received.stats[:, side], []
    for least, reduce in enumerate(("amax", "amin")):
        best = getattr(message, reduce)(axis)
        index = nodes[:, None].expand(*best.flatten(1, 2).shape)
        stats[:, :, 2 + least].scatter_reduce_(1, index, best.flatten(1, 2), reduce)
        if received.ties is not None:
            ties = torch.eq(message, best.unsqueeze(axis)).to(message.dtype).sum(axis)
            extremes.append(Extreme(side, bool(least), nodes, best.flatten(1, 2), ties.flatten(1, 2)))
    stats[:, :, 0].index_add_(1, nodes, message.sum(axis).flatten(1, 2))
    stats[:, :, 1].index_add_(1, nodes, message.square_().sum(axis).flatten(1, 2))
    return extremes


def _add(sums: Tensor, nodes: Tensor, values: Tensor) -> None:
    sums.index_add_(1, nodes.flatten().to(sums.device), values.flatten(1, 2))


def _messages_back(
    chunk: Chunk, e: Tensor, ends: tuple[Tensor, Tensor], node: tuple[Tensor, Tensor], g1: Tensor
) -> Tensor:
    """Gradient (m, b, o, i, H) of a chunk's edges from those of the stats; adds those of a1 to g1."""
    stats, grads = node
    total = torch.zeros((), device=e.device)
    receivers = (1, 0)  # edges that leave a node bring it what their targets send
    for side, axis, nodes in ((0, 3, chunk.targets), (1, 2, chunk.sources)):
        a1, end = ends[side], receivers[side]
        message = a1 * e
        extreme = chunk.ends(stats[:, side])[end]
        grad = chunk.ends(grads[:, side])[end]
        back = torch.addcmul(grad[..., 0, :], message, grad[..., 1, :], value=2)
        for which in (2, 3):
            back.addcmul_((message == extreme[..., which, :]).to(message.dtype), grad[..., which, :])
        total = total + back * a1
        _add(g1, nodes, back.mul_(e).sum(axis))
    return total


def _gates_back(
    chunk: Chunk, e: Tensor, g: Tensor, ends: Sequence[tuple[Tensor, Tensor]], sums: Factors
) -> Tensor:
    """Gradient of a chunk's edges from that of the updated ones, g; adds those of a3 and a4 to the sums."""
    (_, (o3, i3), (o4, i4)), r = ends, g * e
    for sum_of, at, of in ((sums.a3, o4, i4), (sums.a4, o3, i3)):
        _add(sum_of, chunk.targets, (r * of).sum(3))
        _add(sum_of, chunk.sources, (r * at).sum(2))
    return gate((o3, i3), (o4, i4)).mul_(g)
