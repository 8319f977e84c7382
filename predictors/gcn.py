"""gcn: graph convolutions over a cell with one node that sees all (BRP-NAS kind)."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.prediction import PredictorFactory
from nasplat.prediction.batching import node_mask
from nasplat.prediction.cells import CellPredictor
from nasplat.prediction.losses import LossName, outputs
from nasplat.prediction.neural import Form
from nasplat.prediction.training import Recipe

DROPOUT = 0.2


class GraphConvolutions(nn.Module):
    """Layers of A X W + b -> LayerNorm -> ReLU -> dropout; read at the global node, which is linked to all nodes.

    A is directed, with self loops and not normalised: a node sums itself and what it feeds.
    Shapes: operations (n, v, w), adjacency (n, v, v) -> (n,), or (n, 2) for two outputs.
    """

    def __init__(self, words: int, hidden: int, layers: int, outputs: int) -> None:
        super().__init__()
        widths = [words + 1, *[hidden] * layers]
        self.linears = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(widths))
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(layers))
        self.head = nn.Linear(hidden, outputs)

    def forward(self, operations: Tensor, adjacency: Tensor) -> Tensor:
        x, a = _with_global_node(operations, adjacency)
        for linear, norm in zip(self.linears, self.norms, strict=True):
            x = F.dropout(F.relu(norm(a @ linear(x))), DROPOUT, self.training)
        scores: Tensor = self.head(x[:, 0]).squeeze(-1)
        return scores


def _with_global_node(operations: Tensor, adjacency: Tensor) -> tuple[Tensor, Tensor]:
    """One-hot words (n, v + 1, w + 1) and A + I (n, v + 1, v + 1), the global node being number 0 of both."""
    x = F.pad(operations, (1, 0, 1, 0))
    x[:, 0, 0] = 1
    a = F.pad(adjacency, (1, 0, 1, 0)) + torch.eye(x.shape[1])
    a[:, 0, 1:] = node_mask(operations).float()
    return x, a


class Gcn(CellPredictor):
    """In the spirit of "BRP-NAS: Prediction-based NAS using GCNs" (arXiv:2007.08668).

    loss "mse" is its regression, "relation" its binary relation. Published are 600 hidden units in double precision,
    250 epochs and one network; 64 units in single precision fit in seconds.
    """

    def __init__(
        self,
        *,
        loss: LossName = "hinge",
        hidden: int = 64,
        layers: int = 4,
        steps: int = 800,
        members: int = 3,
    ) -> None:
        known = {"loss": loss, "hidden": hidden, "layers": layers, "steps": steps, "members": members}
        super().__init__(known, Recipe(loss=loss, steps=steps, members=members))
        self.hidden, self.layers = hidden, layers

    def network(self, form: Form) -> nn.Module:
        return GraphConvolutions(len(form["words"]), self.hidden, self.layers, outputs(self.recipe.loss))


PREDICTOR: PredictorFactory = Gcn
