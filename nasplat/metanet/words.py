"""What is known of a node beside its numbers, as tensors: words, depth and place."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from nasplat.channels.structure import JOINS, GraphStructure
from nasplat.channels.vocabulary import ACTIVATIONS, number

KINDS = (
    "input",
    "conv",
    "linear",
    "embedding",
    "norm",
    "sum",
    "product",
    "constant",
    "position",
    "attention",
)
"""Kinds of rows and of blocks that have a number of their own; all others share number 0."""

FREQUENCIES = 8
PLACE = 2 + 1 + 2 * FREQUENCIES
"""How many numbers `places` gives for a node."""


@lru_cache(maxsize=256)
def node_words(structure: GraphStructure) -> tuple[Tensor, Tensor]:
    """The numbers (nodes,) of every node's kind and activation."""
    sizes = torch.tensor([len(row) for row in structure.neurons])
    kinds = torch.tensor([number(row.kind, KINDS) for row in structure.neurons])
    activations = torch.tensor([number(row.activation, ACTIVATIONS) for row in structure.neurons])
    return kinds.repeat_interleave(sizes), activations.repeat_interleave(sizes)


@lru_cache(maxsize=256)
def block_words(structure: GraphStructure) -> tuple[Tensor, Tensor]:
    """The number of every block's kind, and the number of every join's kind."""
    blocks = torch.tensor([number(block.kind, KINDS) for block in structure.blocks], dtype=torch.int64)
    return blocks, torch.tensor([number(join.kind, JOINS) for join in structure.joins], dtype=torch.int64)


@lru_cache(maxsize=256)
def places(structure: GraphStructure) -> Tensor:
    """Where every node stands, (nodes, PLACE): its row's depth as a share of the deepest and as log(1 + depth), whether
    it is fixed, and for fixed nodes sines and cosines of its position at frequencies 1 to 1/1000 (arXiv:1706.03762).
    """
    sizes = torch.tensor([len(row) for row in structure.neurons])
    depth = torch.tensor([float(row.depth) for row in structure.neurons]).repeat_interleave(sizes)
    position = torch.from_numpy(structure.positions).float()
    fixed = (position >= 0).float()
    angles = position[:, None] * torch.exp(torch.linspace(0.0, -math.log(1000.0), FREQUENCIES))
    waves = torch.cat([angles.sin(), angles.cos()], dim=1) * fixed[:, None]
    depths = torch.stack([depth / depth.max().clamp(min=1), depth.log1p(), fixed], dim=1)
    return torch.cat([depths, waves], dim=1)
