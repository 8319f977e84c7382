"""boosting: trees that each correct the sum of those before them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nasplat.prediction import Prediction, PredictorFactory
from nasplat.prediction.features import Input
from nasplat.prediction.tabular import Arrays, Table, TabularPredictor
from nasplat.prediction.trees import Trees


class Boosting(TabularPredictor):
    """Stochastic gradient boosting of squared errors (J. Friedman, 2002), a few times over.

    trees: of each member. rate: the share of its correction that each tree makes. depth: of a tree. members: boosted
    alike with other random halves of samples and columns; mean and standard deviation are theirs.
    """

    def __init__(
        self,
        *,
        inputs: list[Input] | None = None,
        trees: int = 300,
        rate: float = 0.05,
        depth: int = 3,
        members: int = 3,
    ) -> None:
        super().__init__(inputs, {"trees": trees, "rate": rate, "depth": depth, "members": members})
        self.trees, self.rate, self.depth, self.members = trees, rate, depth, members

    def learn(self, x: Table, y: Table, seed: int) -> Arrays:
        from sklearn.ensemble import GradientBoostingRegressor

        seeds = np.random.SeedSequence(seed).generate_state(self.members)
        members = [
            GradientBoostingRegressor(
                n_estimators=self.trees,
                learning_rate=self.rate,
                max_depth=self.depth,
                subsample=0.5,
                max_features=0.5,
                random_state=int(own),
            ).fit(x, y)
            for own in seeds
        ]
        grown = Trees.of([tree for member in members for tree in member.estimators_[:, 0]])
        return grown.arrays() | {"centre": np.array([y.mean()])}

    def judge(self, x: Table, learned: Mapping[str, NDArray[Any]]) -> Prediction:
        steps = Trees.in_arrays(learned).predict(x).reshape(self.members, self.trees, len(x))
        each = learned["centre"] + self.rate * steps.sum(1)
        return Prediction(np.asarray(each.mean(0)), np.asarray(each.std(0)))


PREDICTOR: PredictorFactory = Boosting
