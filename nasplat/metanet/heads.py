"""New numbers for every neuron and every weight: networks out of networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.channels.graph import ParameterGraph
from nasplat.channels.structure import COLUMNS, SIDES
from nasplat.metanet.encoders import kernel_places
from nasplat.metanet.fitting import Fitting, train
from nasplat.metanet.groups import Group
from nasplat.metanet.state import GraphState

EDITED = ("bias", "scale", "shift")
"""The columns of neurons that are written; running statistics are read only, as in arXiv:2506.12041."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of heads: the width of the states that they read, the grid of kernels that they write, and how far they go:
    node_step r_n and edge_step r_e multiply what is added."""

    width: int
    grid: int = 7
    node_step: float = 0.01
    edge_step: float = 0.01


class Heads(nn.Module):
    """x' = x + r_n dec_n(h) for neurons and w' = w + r_e dec_e(e) for weights, each dec two layers behind a LayerNorm
    (arXiv:2506.12041). Equivariant: what is moved in the states is moved in the new numbers.

    A kernel is written as it is read: the centre of a grid.
    """

    written: Tensor

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.nodes, self.edges = (_hidden(sizes.width) for _ in range(2))
        self.node = nn.Linear(sizes.width, SIDES * len(COLUMNS))
        self.kernel = nn.Linear(sizes.width, sizes.grid**2)
        mask = torch.tensor([float(column in EDITED) for column in COLUMNS] * SIDES)
        self.register_buffer("written", mask, persistent=False)

    def forward(self, state: GraphState, graph: ParameterGraph) -> ParameterGraph:
        """The graph with new numbers; its batch stays, (m,) or none."""
        changes = self.written * self.node(self.nodes(state.nodes))
        features = graph.features
        features = features + self.sizes.node_step * changes.reshape(features.shape)
        edges = []
        for block, hidden, weights in zip(
            graph.structure.blocks, state.edges or (), graph.edges, strict=True
        ):
            places = torch.tensor(kernel_places(block, self.sizes.grid), device=weights.device)
            change = F.linear(self.edges(hidden), self.kernel.weight[places], self.kernel.bias[places])
            edges.append(weights + self.sizes.edge_step * change.reshape(weights.shape))
        return graph.replace(features, edges)


class Editor(nn.Module):
    """A backbone and heads: a network, or m of one form -> networks of that form. Gradients flow through."""

    def __init__(self, backbone: nn.Module, sizes: Sizes) -> None:
        super().__init__()
        self.backbone, self.heads = backbone, Heads(sizes)

    def forward(self, graph: ParameterGraph) -> ParameterGraph:
        found: ParameterGraph = self.heads(self.backbone(graph), graph)
        return found


def fit_editor(
    editor: Editor,
    groups: Sequence[Group],
    loss: Callable[[ParameterGraph, Tensor], Tensor],
    fitting: Fitting,
) -> list[float]:
    """Train an editor in place: see `train`.

    loss: of m edited networks and their rows (m,) among all, such as how far what they compute is from what is wanted
    (`torch.func.functional_call` on `graph.tensors`, under `vmap`).
    """
    return train(editor, groups, lambda graph, rows: loss(editor(graph), rows), fitting)


def _hidden(width: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(width, elementwise_affine=False), nn.Linear(width, width), nn.SiLU())
