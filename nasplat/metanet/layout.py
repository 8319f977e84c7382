"""The edges of a graph in one flat order, in which blocks of one shape lie side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from nasplat.channels.structure import GraphStructure
from nasplat.metanet.state import GraphState


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """Blocks of one shape: edges start to stop are (blocks, outs, ins), every source to every target of its block.

    sources (blocks, ins) and targets (blocks, outs) are node numbers. A group of a grouped convolution is a block;
    a channel of a depthwise one, and an edge of a join, is a block of one edge.
    """

    start: int
    sources: Tensor
    targets: Tensor

    @property
    def shape(self) -> tuple[int, int, int]:
        """(blocks, outs, ins)."""
        return self.sources.shape[0], self.targets.shape[1], self.sources.shape[1]

    @property
    def stop(self) -> int:
        """The end of its edges."""
        blocks, outs, ins = self.shape
        return self.start + blocks * outs * ins

    def view(self, edges: Tensor) -> Tensor:
        """Flat edges (m, edges, H) as those of the stack, (m, blocks, outs, ins, H)."""
        part: Tensor = edges[:, self.start : self.stop].unflatten(1, self.shape)
        return part


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """The flat order of a structure's edges.

    order: numbers of its blocks, then of its joins (counted on), in flat order; sizes: of each of these in edges.
    degrees (2, nodes): how many edges leave a node, and how many enter it.
    """

    nodes: int
    stacks: tuple[Stack, ...]
    order: tuple[int, ...]
    sizes: tuple[int, ...]
    degrees: Tensor

    @property
    def edges(self) -> int:
        """The number of edges."""
        return sum(self.sizes)

    def pack(self, state: GraphState) -> Tensor:
        """States of blocks and joins as a new tensor (m, edges, H)."""
        parts = [part.flatten(1, -2) for part in (*(state.edges or ()), *(state.joins or ()))]
        return torch.cat([parts[number] for number in self.order], dim=1)

    def unpack(self, flat: Tensor, structure: GraphStructure) -> tuple[list[Tensor], list[Tensor]]:
        """The inverse: views of blocks and of joins."""
        parts = dict(zip(self.order, flat.split(self.sizes, dim=1), strict=True))
        blocks = [parts[b].unflatten(1, block.shape[:3]) for b, block in enumerate(structure.blocks)]
        return blocks, [parts[len(blocks) + j] for j in range(len(structure.joins))]

    def edge_index(self) -> Tensor:
        """Sources and targets (2, edges) of all edges in flat order, as torch_geometric has them."""
        return torch.cat([_pairs(stack) for stack in self.stacks], dim=1)


@lru_cache(maxsize=256)
def layout_of(structure: GraphStructure) -> Layout:
    """The flat order of a structure's edges: stacks from the largest blocks to single edges."""
    ends = [(block.sources, block.targets) for block in structure.blocks]
    ends += [(join.sources[:, None], join.targets[:, None]) for join in structure.joins]
    forms = [(targets.shape[1], sources.shape[1]) for sources, targets in ends]
    order = sorted(range(len(ends)), key=lambda n: (-np.prod(forms[n]), forms[n]))
    stacks, start = [], 0
    for form in dict.fromkeys(forms[n] for n in order):
        alike = [ends[n] for n in order if forms[n] == form]
        stacks.append(
            Stack(start, *(torch.from_numpy(np.concatenate(side)) for side in zip(*alike, strict=True)))
        )
        start = stacks[-1].stop
    sizes = tuple(len(ends[n][0]) * forms[n][0] * forms[n][1] for n in order)
    return Layout(structure.nodes, tuple(stacks), tuple(order), sizes, _degrees(structure.nodes, stacks))


@lru_cache(maxsize=256)
def placed(layout: Layout, device: torch.device) -> Layout:
    """The layout with its numbers on a device."""
    stacks = tuple(Stack(s.start, s.sources.to(device), s.targets.to(device)) for s in layout.stacks)
    return replace(layout, stacks=stacks, degrees=layout.degrees.to(device))


def _degrees(nodes: int, stacks: Sequence[Stack]) -> Tensor:
    degrees = torch.zeros(2, nodes, dtype=torch.int64)
    for stack in stacks:
        _, outs, ins = stack.shape
        degrees[0].index_add_(0, stack.sources.flatten(), torch.full((stack.sources.numel(),), outs))
        degrees[1].index_add_(0, stack.targets.flatten(), torch.full((stack.targets.numel(),), ins))
    return degrees


def _pairs(stack: Stack) -> Tensor:
    sources = stack.sources[:, None, :].expand(stack.shape)
    return torch.stack([sources, stack.targets[:, :, None].expand(stack.shape)]).flatten(1)
