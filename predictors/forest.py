"""forest: many trees on scores and routes, or on any other columns: the bar that a learned predictor has to beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nasplat.prediction import Prediction, PredictorFactory
from nasplat.prediction.features import Input
from nasplat.prediction.limits import small_seed
from nasplat.prediction.tabular import Arrays, Table, TabularPredictor
from nasplat.prediction.trees import Trees


class Forest(TabularPredictor):
    """The mean and the standard deviation of trees (L. Breiman, "Random Forests", 2001).

    trees: how many. max_features: the share of columns that a split chooses among. extra: thresholds drawn at random
    and every tree on all samples (P. Geurts et al., "Extremely randomized trees", 2006) in place of bootstrap samples.
    """

    def __init__(
        self,
        *,
        inputs: list[Input] | None = None,
        trees: int = 200,
        max_features: float = 0.5,
        extra: bool = False,
    ) -> None:
        super().__init__(inputs, {"trees": trees, "max_features": max_features, "extra": extra})
        self.trees, self.max_features, self.extra = trees, max_features, extra

    def learn(self, x: Table, y: Table, seed: int) -> Arrays:
        from sklearn.ensemble import ExtraTreesRegressor, RandomForestRegressor

        kind = ExtraTreesRegressor if self.extra else RandomForestRegressor
        grown = kind(self.trees, max_features=self.max_features, random_state=small_seed(seed)).fit(x, y)
        return Trees.of(grown.estimators_).arrays()

    def judge(self, x: Table, learned: Mapping[str, NDArray[Any]]) -> Prediction:
        each = Trees.in_arrays(learned).predict(x)
        return Prediction(np.asarray(each.mean(0)), np.asarray(each.std(0)))


PREDICTOR: PredictorFactory = Forest
