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

FOLDS = 3


class Boosting(TabularPredictor):
    """Stochastic gradient boosting of squared errors (J. Friedman, 2002), a few times over.

    trees: of each member. rate: the share of its correction that each tree makes. depth: of a tree. members: boosted
    alike with other random halves of samples and columns, whose mean is the prediction. Its variance is theirs and
    that of what one member misses of thirds of the samples that it has not learned from: samples out of the bag of
    one tree are no such samples, as they were in those of earlier trees.
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
        seeds = np.random.SeedSequence(seed).generate_state(self.members).tolist()
        members = [self._boosted(x, y, own) for own in seeds]
        grown = Trees.of([tree for member in members for tree in member.estimators_[:, 0]])
        return grown.arrays() | {"centre": np.array([y.mean()]), "missed": self._missed(x, y, seeds[0])}

    def _boosted(self, x: Table, y: Table, seed: int) -> Any:
        from sklearn.ensemble import GradientBoostingRegressor

        return GradientBoostingRegressor(
            n_estimators=self.trees,
            learning_rate=self.rate,
            max_depth=self.depth,
            subsample=0.5,
            max_features=0.5,
            random_state=seed,
        ).fit(x, y)

    def _missed(self, x: Table, y: Table, seed: int) -> Table:
        """Errors (n,) at each sample of a member that learned from the other folds; of two samples, of their mean."""
        if len(y) < FOLDS:
            return np.asarray(y - y.mean())
        fold = np.random.default_rng(seed).permutation(len(y)) % FOLDS
        missed = np.empty(len(y))
        for out in (fold == k for k in np.unique(fold)):
            missed[out] = y[out] - self._boosted(x[~out], y[~out], seed).predict(x[out])
        return missed

    def judge(self, x: Table, learned: Mapping[str, NDArray[Any]]) -> Prediction:
        steps = Trees.in_arrays(learned).predict(x).reshape(self.members, self.trees, len(x))
        each = learned["centre"] + self.rate * steps.sum(1)
        spread = each.var(0, ddof=1) if len(each) > 1 else 0.0
        return Prediction(np.asarray(each.mean(0)), np.sqrt(spread + np.mean(learned["missed"] ** 2)))


PREDICTOR: PredictorFactory = Boosting
