"""metanet: a number of a trained network, such as its accuracy, from its weights, for any architecture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from nasplat.metanet.backbones import BackboneName
from nasplat.metanet.fitting import Fitting, Loss
from nasplat.metanet.readout import Pooling
from nasplat.prediction import Prediction, PredictorFactory, Sample
from nasplat.prediction.losses import mse
from nasplat.prediction.normal import checked_targets

from ._weights import Body, WeightsPredictor


class Metanet(WeightsPredictor):
    """Regression on standardised targets by mean squared error; see `WeightsPredictor`.

    backbone: what passes messages along weights, or "deep_sets", which passes none. width: of hidden states, a multiple
    of 4. layers: rounds. grid: the largest kernel. epochs, rate, batch: of training, see `Fitting`. members: of the
    ensemble. scales: take out the hidden scales and signs that rectifiers and tanh leave open. poolings: of neurons and
    of weights, layer by layer. reach: how many times larger or smaller than those learned from a network may be.
    """

    def __init__(
        self,
        *,
        backbone: BackboneName = "edge_gated",
        width: int = 16,
        layers: int = 3,
        grid: int = 7,
        epochs: int = 30,
        rate: float = 3e-3,
        batch: int = 64,
        members: int = 1,
        noise: float = 0.0,
        scales: bool = False,
        poolings: Sequence[Pooling] = ("mean", "max"),
        reach: float = 4.0,
    ) -> None:
        body = Body(backbone, width, layers, grid, scales, tuple(poolings))
        training = {"epochs": epochs, "batch": batch, "rate": rate, "noise": noise}
        rest = {"members": members, "reach": reach}
        super().__init__(
            asdict(body) | {"poolings": list(poolings)} | training | rest,
            body,
            Fitting(epochs, batch, rate, noise=noise),
        )

    @property
    def loss(self) -> Loss:
        return lambda outputs, targets: mse(outputs.squeeze(1), targets)

    def learn(self, count: int, targets: ArrayLike) -> tuple[dict[str, Any], Tensor]:
        y = checked_targets(count, targets)
        centre, scale = float(y.mean()), float(y.std())
        standard = torch.from_numpy((y - centre) / (scale or 1.0)).float()
        return {"outputs": 1, "centre": centre, "scale": scale}, standard

    def predict(self, samples: Sequence[Sample]) -> Prediction:
        each = self._form.get("centre", 0.0) + self._form.get("scale", 1.0) * self.outputs(samples)[..., 0]
        spread = each.std(0, ddof=1) if len(each) > 1 else 0.0 * each[0]
        return Prediction(each.mean(0), spread)


PREDICTOR: PredictorFactory = Metanet
