"""gates: operations as soft gates on the information that flows through a cell (GATES kind)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nasplat.errors import NasplatError
from nasplat.prediction import PredictorFactory, Sample
from nasplat.prediction.batching import graphs_of
from nasplat.prediction.cells import CellPredictor
from nasplat.prediction.losses import LossName, outputs
from nasplat.prediction.neural import Form
from nasplat.prediction.nodes import depths
from nasplat.prediction.training import Inputs, Recipe
from nasplat.space import ArchGraph

DROPOUT = 0.1
EMBEDDING = 48  # of operations, as published
ENDS = ("input", "output")


class GatedFlow(nn.Module):
    """Information starts at "input" and is read at "output"; every operation gates what passes it.

    In each layer a node takes sigmoid(W_o e) * sum_j (x_j W) over its predecessors j, e being the embedding of
    its operation, and adds it to what it has. The cell needs no more layers than edges on its longest path.
    Shapes: operations (n, v, w), adjacency (n, v, v), ends (n, v, 2) -> (n,), or (n, 2) for two outputs.
    """

    def __init__(self, words: int, hidden: int, layers: int, outputs: int) -> None:
        super().__init__()
        self.embedding = nn.Linear(words, EMBEDDING, bias=False)
        self.start = nn.Parameter(torch.randn(hidden))
        self.gates = nn.ModuleList(nn.Linear(EMBEDDING, hidden) for _ in range(layers))
        self.flows = nn.ModuleList(nn.Linear(hidden, hidden, bias=False) for _ in range(layers))
        self.head = nn.Sequential(
            nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(hidden, outputs)
        )

    def forward(self, operations: Tensor, adjacency: Tensor, ends: Tensor) -> Tensor:
        words = self.embedding(operations)
        x = ends[:, :, :1] * self.start
        arriving = adjacency.transpose(1, 2)
        for gate, flow in zip(self.gates, self.flows, strict=True):
            x = x + torch.sigmoid(gate(words)) * (arriving @ flow(x))
        code = (x * ends[:, :, 1:]).sum(1)
        scores: Tensor = self.head(code).squeeze(-1)
        return scores


class Gates(CellPredictor):
    """In the spirit of GATES, "A Generic Graph-based Neural Architecture Encoding Scheme" (arXiv:2004.01899).

    Operations lie on nodes here, in cells that have an "input" and an "output". Published: 128 units in 4 layers,
    pairwise hinge with margin 0.1. layers: more where a graph of a fit has a longer path than that many edges.
    """

    def __init__(
        self,
        *,
        loss: LossName = "hinge",
        hidden: int = 64,
        layers: int = 5,
        steps: int = 800,
        members: int = 3,
    ) -> None:
        known = {"loss": loss, "hidden": hidden, "layers": layers, "steps": steps, "members": members}
        super().__init__(known, Recipe(loss=loss, steps=steps, members=members))
        self.hidden, self.layers = hidden, layers

    def learn(self, samples: Sequence[Sample]) -> Form:
        longest = max(max(depths(graph)[0]) for graph in graphs_of(samples))
        return super().learn(samples) | {"layers": max(self.layers, longest)}

    def read(self, samples: Sequence[Sample], form: Form) -> Inputs:
        for sample, graph in zip(samples, graphs_of(samples), strict=True):
            _refuse_without_flow(sample.arch.key, graph, form["layers"])
        batch = super().read(samples, form)
        places = [form["words"].index(end) for end in ENDS]
        return batch | {"ends": batch["operations"][:, :, places]}

    def network(self, form: Form) -> nn.Module:
        return GatedFlow(len(form["words"]), self.hidden, form["layers"], outputs(self.recipe.loss))


def _refuse_without_flow(key: str, graph: ArchGraph, layers: int) -> None:
    """NasplatError for a graph through which no information gets from end to end within so many layers."""
    for end in ENDS:
        if end not in graph.operations:
            raise NasplatError(
                f"architecture {key} has no node {end!r}: information flows from 'input' to 'output'"
            )
    longest = max(depths(graph)[0])
    if longest > layers:
        raise NasplatError(
            f"architecture {key} has a path of {longest} edges, but the predictor has {layers} layers: "
            "fit it on graphs as deep, or give it more layers"
        )


PREDICTOR: PredictorFactory = Gates
