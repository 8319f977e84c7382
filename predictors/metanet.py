"""metanet: a number of a trained network, such as its accuracy, from its weights, for any architecture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from nasplat.metanet.fitting import Loss
from nasplat.prediction import Prediction, PredictorFactory, Sample
from nasplat.prediction.losses import mse
from nasplat.prediction.normal import checked_targets

from ._weights import WeightsPredictor


class Metanet(WeightsPredictor):
    """Regression on standardised targets by mean squared error; for arguments see `WeightsPredictor`."""

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
