"""parzc: a network over zero-cost scores, layer by layer (ParZC kind)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from nasplat.errors import NasplatError
from nasplat.prediction import Prediction, PredictorFactory, Sample
from nasplat.prediction.columns import as_json, from_json, scaled, scales_of, table
from nasplat.prediction.losses import LossName, outputs, scores_of
from nasplat.prediction.neural import Form, NeuralPredictor
from nasplat.prediction.sample import Layers
from nasplat.prediction.training import Inputs, Recipe, seeded

DROPOUT = 0.1
HIDDEN = {"mlp": 128, "mixer": 64}
PATCHES = 16
INITIAL_RHO = -5.0
PASSES = 16  # stochastic passes that a Bayesian prediction averages


class BayesianLinear(nn.Module):
    """A linear map without bias whose weights are mu + softplus(rho) eps, eps ~ N(0, 1), new at every pass.

    As published there is no divergence from a prior in the loss. Shapes: x (..., i) -> (..., o).
    """

    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.mu, self.rho = nn.Parameter(torch.empty(o, i)), nn.Parameter(torch.full((o, i), INITIAL_RHO))
        nn.init.kaiming_uniform_(self.mu)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.mu + F.softplus(self.rho) * torch.randn_like(self.mu))


class Mixer(nn.Module):
    """Columns as patches, residual layers over channels, mean over patches: ParZC's mixer, as coded.

    Shapes: columns (n, c) -> (n,), or (n, 2) for two outputs.
    """

    def __init__(self, columns: int, hidden: int, bayesian: bool, outputs: int) -> None:
        super().__init__()
        linear = BayesianLinear if bayesian else nn.Linear
        self.inward, self.embedding = nn.Linear(columns, 4 * hidden), linear(4 * hidden // PATCHES, hidden)
        self.blocks = nn.ModuleList(
            _block(hidden, width) for _ in range(4) for width in (4 * hidden, hidden // 2)
        )
        self.norm, self.head = nn.LayerNorm(hidden), linear(hidden, outputs)

    def forward(self, columns: Tensor) -> Tensor:
        x = self.embedding(self.inward(columns).view(len(columns), PATCHES, -1))
        for block in self.blocks:
            x = x + block(x)
        scores: Tensor = self.head(self.norm(x).mean(1)).squeeze(-1)
        return scores


def _block(hidden: int, width: int) -> nn.Module:
    return nn.Sequential(
        nn.LayerNorm(hidden),
        nn.Linear(hidden, width),
        nn.GELU(),
        nn.Dropout(DROPOUT),
        nn.Linear(width, hidden),
    )


class Perceptron(nn.Module):
    """Columns (n, c) -> two hidden layers -> (n,), or (n, 2) for two outputs."""

    def __init__(self, columns: int, hidden: int, bayesian: bool, outputs: int) -> None:
        super().__init__()
        linear = BayesianLinear if bayesian else nn.Linear
        self.body = nn.Sequential(
            nn.Dropout(DROPOUT), nn.Linear(columns, hidden), nn.ReLU(), nn.Dropout(DROPOUT),
            linear(hidden, hidden), nn.ReLU(), linear(hidden, outputs),
        )  # fmt: skip

    def forward(self, columns: Tensor) -> Tensor:
        scores: Tensor = self.body(columns).squeeze(-1)
        return scores


class Averaged(nn.Module):
    """A stochastic network whose outputs are, outside of training, the mean of PASSES draws of one fixed seed."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, columns: Tensor) -> Tensor:
        if self.training:
            once: Tensor = self.network(columns)
            return once
        return self.passes(columns).mean(0)

    def passes(self, columns: Tensor) -> Tensor:
        """The outputs of each draw, (PASSES, n) or (PASSES, n, 2)."""
        with seeded(0):
            return torch.stack([self.network(columns) for _ in range(PASSES)])


class ParZC(NeuralPredictor):
    """Layer-wise statistics in a network, after "ParZC: Parametric Zero-Cost Proxies" (arXiv:2402.02105).

    network: "mlp", which its authors' own ablation finds as good, or their "mixer". bayesian: stochastic weights in
    the layers where the published mixer has them. align: layers by their place in the network, as published, or
    by module name. Published columns enter raw and padded with zeros; here those that are never negative (synflow
    reaches 1e67) are logarithms, all are robust z-scores of the training pool, and a second column tells what was
    known. A longer network than any learned from is judged by its first layers. Mixer: 64 units, published 512.
    A score without values, which a dead network may have, is 0 at all modules of the network's other scores.
    """

    needs = frozenset({"layers"})

    def __init__(
        self,
        *,
        network: Literal["mlp", "mixer"] = "mlp",
        bayesian: bool = False,
        align: Literal["place", "name"] = "place",
        loss: LossName = "hinge",
        steps: int = 800,
        members: int = 3,
    ) -> None:
        own = {"network": network, "bayesian": bayesian, "align": align}
        shared: dict[str, Any] = {"loss": loss, "steps": steps, "members": members}
        super().__init__(own | shared, Recipe(**shared))
        self.kind, self.bayesian, self.align = network, bayesian, align

    def learn(self, samples: Sequence[Sample]) -> Form:
        scores = sorted({score for s in samples for score, values in s.layers.items() if values})
        return {"scores": scores, "columns": as_json(scales_of(self._rows(samples, scores)))}

    def read(self, samples: Sequence[Sample], form: Form) -> Inputs:
        scales = from_json(form["columns"])
        rows = self._rows(samples, form["scores"])
        for sample, row in zip(samples, rows, strict=True):
            if scales.keys().isdisjoint(row):
                raise NasplatError(
                    f"architecture {sample.arch.key} has no module that was learned: align layers by place, or fit "
                    "on networks of this kind"
                )
        return {"columns": torch.from_numpy(scaled(table(rows, list(scales)), scales))}

    def network(self, form: Form) -> nn.Module:
        kind = Mixer if self.kind == "mixer" else Perceptron
        network = kind(2 * len(form["columns"]), HIDDEN[self.kind], self.bayesian, outputs(self.recipe.loss))
        return Averaged(network) if self.bayesian else network

    def predict(self, samples: Sequence[Sample]) -> Prediction:
        """Mean and standard deviation, of members and, where weights are stochastic, of their passes."""
        found = super().predict(samples)
        if not self.bayesian or not samples:
            return found
        inputs = self.read(samples, self._form)
        variances = [
            (slope * _spread(member, inputs)) ** 2
            for member, (_, slope) in zip(self._members, self._lines, strict=True)
        ]
        return Prediction(found.mean, np.sqrt(found.std**2 + np.mean(variances, axis=0)))

    def _rows(self, samples: Sequence[Sample], scores: Sequence[str]) -> list[dict[str, float]]:
        """Values by column name; NasplatError for the first sample that was not scored."""
        return [
            {
                f"{score}:{module if self.align == 'name' else place}": value
                for score, layers in _known(sample, scores).items()
                for place, (module, value) in enumerate(layers.items())
            }
            for sample in samples
        ]


@torch.no_grad()
def _spread(member: nn.Module, inputs: Inputs) -> NDArray[np.float64]:
    """The standard deviation (n,) of a member's scores over its passes."""
    if not isinstance(member, Averaged):
        raise TypeError(f"{type(member).__name__} has no passes")
    scores = torch.stack([scores_of(once) for once in member.passes(**inputs)])
    return scores.double().std(0).numpy()


def _known(sample: Sample, scores: Sequence[str]) -> Layers:
    """The values of these scores by module, zeros for a score that was computed and has none."""
    missing = [score for score in scores if score not in sample.layers]
    zeros = {module: 0.0 for score in scores for module in sample.layers.get(score, ())}
    if missing or not zeros:
        raise NasplatError(
            f"architecture {sample.arch.key} has no values of {[*missing, 'any score'][0]} by layer: "
            "score it first, or leave it out"
        )
    return {score: sample.layers[score] or zeros for score in scores}


PREDICTOR: PredictorFactory = ParZC
