"""The pass over edges in torch operations, chunk by chunk: any device, any type, edges of a smaller type than nodes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from nasplat.metanet.edge_gated_kernels import LEAST_VARIANCE, Past
from nasplat.metanet.layout import Layout, Stack

CHUNK_EDGES = 2**12
"""How many edges are worked on at once on a CPU: with 64 channels of float32, 1 MB."""

CHUNK_EDGES_DEVICE = 2**20
"""The same elsewhere."""

SUM, SQUARE, MOST, LEAST, TIES = range(5)
"""What a node receives in one direction, of a1 e; then two counts, of the messages that share the largest and least."""

Ends = tuple[Tensor, Tensor]
"""What targets have, (m, b, o, 1, H), and what sources have, (m, b, 1, i, H)."""


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Some rows of some blocks of a stack: sources (b, i), targets (b, o)."""

    stack: Stack
    blocks: slice
    outs: slice

    def nodes(self, side: int, device: torch.device) -> Tensor:
        """Node numbers of sources (side 0) or of targets, in a row."""
        numbers = self.stack.targets[self.blocks, self.outs] if side else self.stack.sources[self.blocks]
        return numbers.flatten().to(device)

    def view(self, edges: Tensor) -> Tensor:
        """Its part (m, b, o, i, H) of flat edges."""
        return self.stack.view(edges)[:, self.blocks, self.outs]

    def ends(self, values: Tensor) -> Ends:
        """What its targets and its sources have of values (m, nodes, ...)."""
        blocks = len(self.stack.sources[self.blocks])
        sources, targets = (
            values[:, self.nodes(side, values.device)].unflatten(1, (blocks, -1)) for side in (0, 1)
        )
        return targets.unsqueeze(3), sources.unsqueeze(2)


def chunks(layout: Layout, limit: int) -> Iterator[Chunk]:
    """All edges in parts of at most `limit`, or of one row of a block."""
    for stack in layout.stacks:
        blocks, outs, ins = stack.shape
        rows = max(1, min(outs, limit // ins))
        some = max(1, limit // (outs * ins)) if rows == outs else 1
        for block in range(0, blocks, some):
            for out in range(0, outs, rows):
                yield Chunk(stack, slice(block, block + some), slice(out, out + rows))


class TorchKernels:
    """See Kernels. What it saves are stats (m, 2, nodes, 6, H): SUM to TIES of edges that leave a node, which bring it
    what their targets send, then of edges that enter it."""

    def forward(
        self, layout: Layout, factors: Tensor, edges: Tensor, out: Tensor, train: bool
    ) -> tuple[Tensor, Tensor]:
        """See Kernels."""
        a1, a2, a3, a4 = factors.chunk(4, dim=-1)
        stats = a1.new_zeros(len(a1), 2, layout.nodes, TIES + 2, a1.shape[-1])
        stats[..., MOST, :], stats[..., LEAST, :] = -torch.inf, torch.inf
        extremes: list[Extreme] = []
        for chunk in chunks(layout, _limit(edges)):
            e = chunk.view(edges)
            at, of = chunk.ends(a1)
            for side, message in ((0, at * e), (1, of * e)):
                extremes += _receive(stats[:, side], chunk.nodes(side, e.device), message, 2 + side, train)
            chunk.view(out).copy_(e * _gate(chunk.ends(a3), chunk.ends(a4)))
        for extreme in extremes:
            extreme.count()
        return received(layout, stats, a2), stats

    def backward(
        self, layout: Layout, past: Past, stats: Tensor, grads: Tensor, g: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """See Kernels."""
        factors, sums = past.factors.chunk(4, dim=-1), torch.zeros_like(past.factors)
        node = _received_back(layout, stats, factors[1], grads, sums.chunk(4, dim=-1)[1])
        ge = torch.empty_like(past.edges) if g is None else g
        for chunk in chunks(layout, _limit(past.edges)):
            e = chunk.view(past.edges)
            for between in past.between:
                _, _, a3, a4 = between.chunk(4, dim=-1)
                e = (e * _gate(chunk.ends(a3), chunk.ends(a4))).to(e.dtype)
            total = _messages_back(chunk, e, factors[0], (stats, node), sums.chunk(4, dim=-1)[0])
            if g is not None:
                total += _gates_back(chunk, e, chunk.view(g), past.factors, sums)
            chunk.view(ge).copy_(total)
        return sums, ge


def received(layout: Layout, stats: Tensor, a2: Tensor) -> Tensor:
    """What nodes receive, (m, nodes, 4 H), of stats (m, 2, nodes, 6, H) and a2 (m, nodes, H)."""
    width = a2.shape[-1]
    degrees = layout.degrees.to(stats.device)[..., None]
    total, square, most, least, *_ = stats.masked_fill(degrees[..., None] == 0, 0).unbind(dim=3)
    signed = a2[:, None].expand(-1, 2, -1, -1).clone()
    signed[:, 1, :, width // 2 :] *= -1  # the second half of the channels tells the directions apart
    mean, count = total / degrees.clamp(min=1), degrees.clamp(min=1)
    variance = (square / count - mean.square()) * signed.square()
    deviation = torch.where(variance > LEAST_VARIANCE, variance.clamp(min=LEAST_VARIANCE).sqrt(), 0.0)
    rising = signed >= 0
    high, low = torch.where(rising, most, least) * signed, torch.where(rising, least, most) * signed
    return torch.cat([part.sum(1) for part in (mean * signed, deviation, high, low)], dim=-1)


def _received_back(layout: Layout, stats: Tensor, a2: Tensor, grads: Tensor, g2: Tensor) -> Tensor:
    """Gradients of stats, those of extremes for each message that ties; writes that of a2 to g2."""
    with torch.enable_grad():
        leaves = stats.detach().requires_grad_(), a2.detach().requires_grad_()
        of_stats, of_a2 = torch.autograd.grad(received(layout, *leaves), leaves, grads)
    g2.copy_(of_a2)
    of_stats[..., MOST:TIES, :] /= stats[..., TIES:, :].clamp(min=1)
    return of_stats


def _limit(edges: Tensor) -> int:
    return max(1, (CHUNK_EDGES if edges.device.type == "cpu" else CHUNK_EDGES_DEVICE) // len(edges))


def _gate(ends3: Ends, ends4: Ends) -> Tensor:
    """1 + a3_o a4_i + a4_o a3_i, (m, b, o, i, H)."""
    return (ends3[0] * ends4[1]).add_(ends4[0] * ends3[1]).add_(1)


@dataclass(frozen=True, slots=True, eq=False)
class Extreme:
    """Extremes (m, n, H) that nodes (n,) receive from a chunk, how many messages have them, and where they are counted:
    extremes and ties of all, (m, nodes, H)."""

    nodes: Tensor
    values: Tensor
    ties: Tensor
    final: Tensor
    total: Tensor

    def count(self) -> None:
        """Add its ties where it is an extreme of all that its nodes receive."""
        self.total.index_add_(1, self.nodes, self.ties * (self.values == self.final[:, self.nodes]))


def _same(message: Tensor, extreme: Tensor) -> Tensor:
    """1 where a message is the extreme, else 0, as numbers: on a CPU a tenth of the time that truth values take."""
    return torch.eq(message, extreme, out=torch.empty_like(message))


def _receive(stats: Tensor, nodes: Tensor, message: Tensor, axis: int, train: bool) -> list[Extreme]:
    """Add messages (m, b, o, i, H), which nodes (n,) receive along an axis; what to count when all have come."""
    extremes = []
    for slot, reduce in ((MOST, "amax"), (LEAST, "amin")):
        best = getattr(message, reduce)(axis)
        values = best.flatten(1, 2)
        stats[:, :, slot].scatter_reduce_(1, nodes[:, None].expand(values.shape), values, reduce)
        if train:
            ties = _same(message, best.unsqueeze(axis)).sum(axis).flatten(1, 2)
            extremes.append(Extreme(nodes, values, ties, stats[:, :, slot], stats[:, :, slot - MOST + TIES]))
    stats[:, :, SUM].index_add_(1, nodes, message.sum(axis).flatten(1, 2))
    stats[:, :, SQUARE].index_add_(1, nodes, message.square_().sum(axis).flatten(1, 2))
    return extremes


def _messages_back(chunk: Chunk, e: Tensor, a1: Tensor, node: tuple[Tensor, Tensor], g1: Tensor) -> Tensor:
    """Gradient (m, b, o, i, H) of a chunk's edges from those of stats; adds those of a1 to g1."""
    total = torch.zeros((), device=e.device, dtype=a1.dtype)
    for side in (0, 1):  # that receives: messages of the other
        sent = chunk.ends(a1)[side]
        message = sent * e
        stats, grads = (chunk.ends(part[:, side])[1 - side] for part in node)
        back = torch.addcmul(grads[..., SUM, :], message, grads[..., SQUARE, :], value=2)
        for slot in (MOST, LEAST):
            back.addcmul_(_same(message, stats[..., slot, :]), grads[..., slot, :])
        total = total + back * sent
        g1.index_add_(1, chunk.nodes(1 - side, e.device), back.mul_(e).sum(3 - side).flatten(1, 2))
    return total


def _gates_back(chunk: Chunk, e: Tensor, g: Tensor, factors: Tensor, sums: Tensor) -> Tensor:
    """Gradient of a chunk's edges from that of the updated ones, g; adds those of a3 and a4 to the sums."""
    (a3, a4), (g3, g4), both = factors.chunk(4, dim=-1)[2:], sums.chunk(4, dim=-1)[2:], g * e
    ends3, ends4 = chunk.ends(a3), chunk.ends(a4)
    for side in (0, 1):
        nodes = chunk.nodes(side, e.device)
        for sum_, other in ((g3, ends4), (g4, ends3)):
            sum_.index_add_(1, nodes, (both * other[side]).sum(2 + side).flatten(1, 2))
    return _gate(ends3, ends4).mul_(g)
