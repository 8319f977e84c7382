"""The edges of a graph seen along them and against them, in dense blocks: no list of single edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from nasplat.channels.structure import GraphStructure
from nasplat.metanet.state import GraphState


@dataclass(frozen=True, slots=True, eq=False)
class Direction:
    """Who sends to whom, for every block and then every join, as a block (n, 1, 1) of single edges.

    senders, receivers: node numbers (g, s) and (g, r). axis: of edge states (m, g, o, i, H), the one of the senders: 3
    along edges, 2 against them. index (p,): the receivers of all blocks, one after the other. degree (nodes,): how
    many edges reach a node.
    """

    senders: tuple[Tensor, ...]
    receivers: tuple[Tensor, ...]
    axis: int
    index: Tensor
    degree: Tensor

    def sent(self, values: Tensor) -> list[Tensor]:
        """Numbers of nodes (m, nodes, h) beside the edges that they send along: h for every sender, 1 on the axis of
        the receivers."""
        return [_spread(values, numbers).unsqueeze(5 - self.axis) for numbers in self.senders]

    def received(self, values: Tensor) -> list[Tensor]:
        """Numbers of nodes (m, nodes, h) beside the edges that reach them, 1 on the axis of the senders."""
        return [_spread(values, numbers).unsqueeze(self.axis) for numbers in self.receivers]

    def total(self, partial: Sequence[Tensor]) -> Tensor:
        """Sums over blocks (m, nodes, h) of what each block gives its receivers, (m, g, r, h) each."""
        flat = torch.cat([values.flatten(1, 2) for values in partial], 1)
        empty = flat.new_zeros(len(flat), len(self.degree), flat.shape[2])
        return empty.index_add(1, self.index, flat)

    def largest(self, partial: Sequence[Tensor]) -> Tensor:
        """The largest number over blocks, of each channel; 0 for nodes that no edge reaches."""
        flat = torch.cat([values.flatten(1, 2) for values in partial], 1)
        empty = flat.new_zeros(len(flat), len(self.degree), flat.shape[2])
        index = self.index[:, None].expand_as(flat)
        return empty.scatter_reduce(1, index, flat, "amax", include_self=False)


def _spread(values: Tensor, numbers: Tensor) -> Tensor:
    """(m, nodes, h) at node numbers (g, n), (m, g, n, h)."""
    spread: Tensor = values.index_select(1, numbers.flatten()).unflatten(1, numbers.shape)
    return spread


@lru_cache(maxsize=256)
def directions(structure: GraphStructure, device: torch.device) -> tuple[Direction, Direction]:
    """Along the edges of a graph, and against them."""
    ends = [(block.sources, block.targets) for block in structure.blocks]
    ends += [(join.sources[:, None], join.targets[:, None]) for join in structure.joins]
    sources, targets = (
        tuple(torch.from_numpy(end).to(device) for end in side) for side in zip(*ends, strict=True)
    )
    forth = _direction(sources, targets, 3, structure.nodes)
    return forth, _direction(targets, sources, 2, structure.nodes)


def _direction(
    senders: tuple[Tensor, ...], receivers: tuple[Tensor, ...], axis: int, nodes: int
) -> Direction:
    index = torch.cat([numbers.flatten() for numbers in receivers])
    each = [
        numbers.new_full((to.numel(),), numbers.shape[1])
        for numbers, to in zip(senders, receivers, strict=True)
    ]
    degree = index.new_zeros(nodes).index_add(0, index, torch.cat(each))
    return Direction(senders, receivers, axis, index, degree)


def opened(state: GraphState) -> list[Tensor]:
    """The states of blocks and then of joins, (m, g, o, i, H) each."""
    return [*(state.edges or ()), *(joins[:, :, None, None] for joins in state.joins or ())]


def closed(nodes: Tensor, edges: Sequence[Tensor], structure: GraphStructure) -> GraphState:
    """The inverse of `opened`."""
    blocks = len(structure.blocks)
    return GraphState(nodes, list(edges[:blocks]), [joins[:, :, 0, 0] for joins in edges[blocks:]])
