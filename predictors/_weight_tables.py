"""What predictors share that read a trained network as one row of numbers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from nasplat.channels.graph import ParameterGraph
from nasplat.errors import NasplatError
from nasplat.metanet.groups import fingerprint, grouped
from nasplat.prediction import Prediction, Predictor, Sample
from nasplat.prediction.making import make_predictor
from nasplat.prediction.neural import Form, NeuralPredictor
from nasplat.prediction.training import Inputs, Recipe
from nasplat.prediction.weights import weights_of

Model: TypeAlias = Literal["boosting", "forest", "ridge", "perceptron"]
"""What learns from the rows: another predictor on encodings, or a perceptron."""


class WeightTable(Predictor):
    """Another predictor, `model`, on rows of numbers that a plug-in reads from weights.

    one_form: whether columns mean the same for networks of one form only; others are then refused.
    """

    needs = frozenset({"weights"})

    def __init__(self, model: Model, arguments: dict[str, Any], one_form: bool) -> None:
        self._arguments, self._one_form = {"model": model, **arguments}, one_form
        self._learner = (
            Perceptron() if model == "perceptron" else make_predictor(model, {"inputs": ["encoding"]})
        )
        self._form: str | None = None

    @abstractmethod
    def columns(self, graph: ParameterGraph) -> Tensor:
        """Rows of m networks of one form, (m, columns)."""

    @property
    def arguments(self) -> dict[str, Any]:
        return dict(self._arguments)

    def fit(self, samples: Sequence[Sample], targets: ArrayLike, *, seed: int = 0) -> Self:
        graphs = weights_of(samples)
        form = fingerprint(graphs[0].structure) if graphs else ""
        self._learner.fit(self._read(samples, graphs, form), targets, seed=seed)
        self._form = form
        return self

    def predict(self, samples: Sequence[Sample]) -> Prediction:
        if self._form is None:
            raise NasplatError("the predictor has learned nothing yet: call fit first")
        return self._learner.predict(self._read(samples, weights_of(samples), self._form))

    def embed(self, samples: Sequence[Sample]) -> NDArray[np.float64]:
        """The rows themselves, (n, columns)."""
        return np.array(
            [sample.encoding for sample in self._read(samples, weights_of(samples), self._form or "")]
        )

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        arrays, rest = self._learner.state()
        return arrays, {"form": self._form, "learner": rest}

    def restore(self, arrays: Mapping[str, NDArray[Any]], rest: Mapping[str, Any]) -> Self:
        self._learner.restore(arrays, rest["learner"])
        self._form = rest["form"]
        return self

    def _read(self, samples: Sequence[Sample], graphs: Sequence[ParameterGraph], form: str) -> list[Sample]:
        """The samples with their rows in place of encodings; NasplatError for another form where that matters."""
        rows = np.zeros((len(samples), 0), np.float32)
        for group in grouped(graphs):
            if self._one_form and fingerprint(group.graph.structure) != form:
                raise NasplatError(
                    f"architecture {samples[group.rows[0]].arch.key} has another form than the networks learned from, "
                    "and its numbers other meanings: use statnn with per = 'row', or metanet"
                )
            found = self.columns(group.graph).numpy().astype(np.float32)
            rows = rows if rows.shape[1] else np.zeros((len(samples), found.shape[1]), np.float32)
            rows[group.rows] = found
        return [replace(sample, encoding=row) for sample, row in zip(samples, rows, strict=True)]


class Perceptron(NeuralPredictor):
    """Two hidden layers on standardised encodings, by mean squared error."""

    needs = frozenset({"encoding"})

    def __init__(self, width: int = 128, steps: int = 800) -> None:
        super().__init__({}, Recipe("mse", steps, batch=64, members=1, decay=1e-2))
        self.width = width

    def learn(self, samples: Sequence[Sample]) -> Form:
        return {"columns": len(samples[0].encoding)}

    def read(self, samples: Sequence[Sample], form: Form) -> Inputs:
        return {"x": torch.from_numpy(np.stack([sample.encoding for sample in samples]))}

    def network(self, form: Form) -> nn.Module:
        return _Layers(form["columns"], self.width)


class _Layers(nn.Module):
    """x (n, columns) -> (n,)."""

    def __init__(self, columns: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.BatchNorm1d(columns, affine=False),
            nn.Linear(columns, width),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layers(x)
        return found.squeeze(1)
