"""latency_gnn: a look-up table, and messages between the operations of a graph for what it misses, on one device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from nasplat.prediction import Prediction, PredictorFactory, Sample
from nasplat.prediction.batching import node_mask
from nasplat.prediction.blocks import latencies
from nasplat.prediction.cells import CellPredictor
from nasplat.prediction.neural import Form
from nasplat.prediction.training import Recipe

from .latency_table import LatencyTable


class CostsInContext(nn.Module):
    """A cost for each operation that depends on what is around it; a network is the sum of its costs.

    Layers of x <- x + ReLU(LayerNorm(x U + A x V + A' x W)), then a linear cost. A graph network of sums has no
    limit of size: twice the operations may cost twice. Shapes: operations (n, v, w), adjacency (n, v, v) -> (n,).
    """

    def __init__(self, words: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Linear(words, hidden, bias=False)
        self.linears = nn.ModuleList(nn.Linear(3 * hidden, hidden) for _ in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(layers))
        self.cost = nn.Linear(hidden, 1)

    def forward(self, operations: Tensor, adjacency: Tensor) -> Tensor:
        x: Tensor = self.embedding(operations)
        for linear, norm in zip(self.linears, self.norms, strict=True):
            around = torch.cat([x, adjacency @ x, adjacency.transpose(1, 2) @ x], -1)
            x = x + F.relu(norm(linear(around)))
        costs: Tensor = self.cost(x).squeeze(-1) * node_mask(operations)
        return costs.sum(-1)


class LatencyGnn(CellPredictor):
    """latency = table * (1 + what the graph adds): `latency_table`, and an ensemble of graph networks on its errors.

    The per-device graph network of BRP-NAS (arXiv:2007.08668) predicts the whole latency. Here a table
    counts all blocks first, those too that lead nowhere: devices run them, but the graph of a cell lacks them. The
    standard deviation is that of the table and of the ensemble together.
    """

    def __init__(self, *, hidden: int = 32, layers: int = 2, steps: int = 800, members: int = 3) -> None:
        known = {"hidden": hidden, "layers": layers, "steps": steps, "members": members}
        super().__init__(known, Recipe(loss="mse", steps=steps, members=members, decay=1e-2))
        self.hidden, self.layers, self.table = hidden, layers, LatencyTable()

    def fit(self, samples: Sequence[Sample], targets: ArrayLike, *, seed: int = 0) -> Self:
        y = latencies(samples, targets)
        self.table.fit(samples, y)
        return super().fit(samples, y / self.table.predict(samples).mean - 1, seed=seed)

    def predict(self, samples: Sequence[Sample]) -> Prediction:
        added = super().predict(samples)
        table = self.table.predict(samples)
        return Prediction(table.mean * (1 + added.mean), np.hypot(table.std, table.mean * added.std))

    def network(self, form: Form) -> nn.Module:
        return CostsInContext(len(form["words"]), self.hidden, self.layers)

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        arrays, rest = super().state()
        costs, table = self.table.state()
        return arrays | {"table": costs["costs"]}, rest | {"table": table}

    def restore(self, arrays: Mapping[str, NDArray[Any]], rest: Mapping[str, Any]) -> Self:
        self.table.restore({"costs": arrays["table"]}, rest["table"])
        return super().restore({name: array for name, array in arrays.items() if name != "table"}, rest)


PREDICTOR: PredictorFactory = LatencyGnn
