"""Trees as arrays against the trees of scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesRegressor, GradientBoostingRegressor, RandomForestRegressor

from nasplat.prediction.trees import Trees

RNG = np.random.default_rng(0)
X, NEW = RNG.normal(size=(60, 4)).round(1), RNG.normal(size=(200, 4)).round(1)  # many equal values
Y = X[:, 0] * X[:, 1] + X[:, 2]


@pytest.mark.parametrize("kind", [RandomForestRegressor, ExtraTreesRegressor])
def test_each_tree_predicts_what_scikit_learn_predicts(kind: type) -> None:
    forest = kind(10, random_state=1).fit(X, Y)
    found = Trees.of(forest.estimators_).predict(NEW)
    np.testing.assert_array_equal(found, [tree.predict(NEW) for tree in forest.estimators_])
    np.testing.assert_allclose(found.mean(0), forest.predict(NEW), rtol=1e-12)


def test_boosted_trees_sum_to_what_scikit_learn_predicts() -> None:
    boosted = GradientBoostingRegressor(n_estimators=20, learning_rate=0.3, random_state=1).fit(X, Y)
    steps = Trees.of(boosted.estimators_[:, 0]).predict(NEW)
    np.testing.assert_allclose(Y.mean() + 0.3 * steps.sum(0), boosted.predict(NEW), rtol=1e-12)


def test_a_tree_that_is_one_leaf_gives_its_value() -> None:
    forest = RandomForestRegressor(2, random_state=0).fit(X, np.full(len(X), 7.0))
    assert Trees.of(forest.estimators_).predict(NEW).tolist() == [[7.0] * len(NEW)] * 2


def test_arrays_hold_all_of_the_trees() -> None:
    trees = Trees.of(RandomForestRegressor(3, random_state=0).fit(X, Y).estimators_)
    again = Trees.in_arrays(trees.arrays())
    np.testing.assert_array_equal(again.predict(NEW), trees.predict(NEW))
