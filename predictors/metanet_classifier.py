"""metanet_classifier: the class of a trained network from its weights, such as what an implicit image shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from nasplat.errors import NasplatError
from nasplat.metanet.fitting import Loss
from nasplat.prediction import Prediction, PredictorFactory, Sample
from nasplat.prediction.normal import checked_targets

from ._weights import WeightsPredictor


class MetanetClassifier(WeightsPredictor):
    """Cross entropy of classes 0, 1, 2 and so on; for arguments see `WeightsPredictor`.

    `predict_proba` gives the mean probabilities of all members. `predict` gives the most probable class as mean and,
    p being its probability, sqrt(p (1 - p)) as std: the deviation of being right.
    """

    @property
    def loss(self) -> Loss:
        return F.cross_entropy

    def learn(self, count: int, targets: ArrayLike) -> tuple[dict[str, Any], Tensor]:
        y = checked_targets(count, targets)
        if (y != y.round()).any() or y.min() < 0 or y.max() < 1:
            raise NasplatError(
                f"classes from {y.min():g} to {y.max():g}: expected whole numbers from 0, two or more of them"
            )
        return {"outputs": int(y.max()) + 1}, torch.from_numpy(y).long()

    def predict_proba(self, samples: Sequence[Sample]) -> NDArray[np.float64]:
        """Probabilities of the classes, (n, classes)."""
        each = torch.from_numpy(self.outputs(samples)).softmax(-1)
        return np.asarray(each.mean(0).numpy())

    def predict(self, samples: Sequence[Sample]) -> Prediction:
        proba = self.predict_proba(samples)
        best = proba.max(1, initial=0.0)
        return Prediction(proba.argmax(1).astype(float), np.sqrt(best * (1 - best)))


PREDICTOR: PredictorFactory = MetanetClassifier
