"""Backbones by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

from torch import nn

from nasplat.metanet.attention import RelationalAttention
from nasplat.metanet.deep_sets import DeepSets
from nasplat.metanet.pna import Pna

BackboneName: TypeAlias = Literal["edge_gated", "pna", "attention", "deep_sets"]


def _edge_gated(width: int, layers: int, grid: int) -> nn.Module:
    from nasplat.metanet.edge_gated import EdgeGated  # here: it may look for a compiler

    return EdgeGated(width, layers, grid=grid)


BACKBONES: dict[BackboneName, Callable[[int, int, int], nn.Module]] = {
    "edge_gated": _edge_gated,
    "pna": Pna,
    "attention": RelationalAttention,
    "deep_sets": DeepSets,
}
"""Name to a backbone of some width, layers, and grid of kernels; all give a GraphState of that width."""
