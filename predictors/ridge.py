"""ridge: a line in all columns, with as much shrinkage as the data ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nasplat.prediction import Prediction, PredictorFactory
from nasplat.prediction.features import Input
from nasplat.prediction.tabular import Arrays, Table, TabularPredictor


class Ridge(TabularPredictor):
    """Bayesian ridge regression (C. Bishop, "Pattern Recognition and Machine Learning", sections 3.3 and 3.5).

    The precisions of weights and of noise maximise the evidence. The deviation is that of a new measurement: of the
    line and of the noise, sqrt(1 / alpha + x S x^T).
    """

    def __init__(self, *, inputs: list[Input] | None = None) -> None:
        super().__init__(inputs, {})

    def learn(self, x: Table, y: Table, seed: int) -> Arrays:
        from sklearn.linear_model import BayesianRidge

        centre, scale = float(y.mean()), float(y.std()) or 1.0
        line = BayesianRidge().fit(x, (y - centre) / scale)
        values = np.array([line.intercept_, 1 / line.alpha_, centre, scale])
        return {"weights": line.coef_, "covariance": line.sigma_, "means": x.mean(0), "values": values}

    def judge(self, x: Table, learned: Mapping[str, NDArray[Any]]) -> Prediction:
        offset, noise, centre, scale = learned["values"]
        away = x - learned["means"]
        variance = noise + np.einsum("ni,ij,nj->n", away, learned["covariance"], away)
        mean = x @ learned["weights"] + offset
        return Prediction(centre + scale * mean, scale * np.sqrt(np.maximum(variance, 0.0)))


PREDICTOR: PredictorFactory = Ridge
