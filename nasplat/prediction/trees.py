"""Regression trees as arrays: grown by scikit-learn, kept and asked without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

FIELDS = ("roots", "left", "right", "feature", "threshold", "value")


@dataclass(frozen=True, slots=True, eq=False)
class Trees:
    """Many binary trees in one numbering of their nodes.

    roots (t,): the first node of each tree. left, right (nodes,): children, a leaf being its own child. feature and
    threshold: x[feature] <= threshold goes left, x in single precision as scikit-learn compares it. value: of leaves.
    """

    roots: NDArray[np.int64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    value: NDArray[np.float64]

    @classmethod
    def of(cls, estimators: Sequence[Any]) -> Self:
        """Fitted `DecisionTreeRegressor`s of one output."""
        parts: dict[str, list[NDArray[Any]]] = {field: [] for field in FIELDS}
        start = 0
        for tree in (estimator.tree_ for estimator in estimators):
            own = np.arange(tree.node_count)
            leaf = tree.children_left < 0
            parts["roots"].append(np.array([start]))
            parts["left"].append(start + np.where(leaf, own, tree.children_left))
            parts["right"].append(start + np.where(leaf, own, tree.children_right))
            parts["feature"].append(np.where(leaf, 0, tree.feature))
            parts["threshold"].append(np.array(tree.threshold))
            parts["value"].append(np.array(tree.value[:, 0, 0]))
            start += tree.node_count
        return cls(*(np.concatenate(parts[field]) for field in FIELDS))

    @classmethod
    def in_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The trees that `arrays` gave."""
        return cls(*(arrays[field] for field in FIELDS))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All fields by name."""
        return {field: getattr(self, field) for field in FIELDS}

    def predict(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """The value of each tree (t, n) at each row of x (n, f)."""
        single, rows = x.astype(np.float32), np.arange(len(x))
        node = np.repeat(self.roots[:, None], len(x), axis=1)
        while True:
            goes_left = single[rows, self.feature[node]] <= self.threshold[node]
            following = np.where(goes_left, self.left[node], self.right[node])
            if np.array_equal(following, node):
                return np.asarray(self.value[node])
            node = following
