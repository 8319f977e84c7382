"""What all predictors have in common that read samples as columns of numbers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nasplat.errors import NasplatError
from nasplat.prediction.features import Features, Input
from nasplat.prediction.limits import check_numbers
from nasplat.prediction.normal import checked_targets
from nasplat.prediction.predictor import Prediction, Predictor
from nasplat.prediction.sample import Sample

Arrays: TypeAlias = dict[str, NDArray[Any]]
Table: TypeAlias = NDArray[np.float64]


class TabularPredictor(Predictor):
    """A predictor on one table of columns; a plug-in says what to learn from it and how to ask.

    inputs: what to read of samples, see `Features`; by default scores and graphs where samples have them, else
    encodings.
    """

    def __init__(self, inputs: Sequence[Input] | None, arguments: Mapping[str, Any]) -> None:
        check_numbers(arguments)
        self._arguments = {"inputs": None if inputs is None else list(inputs), **arguments}
        self._features = Features(inputs)
        self.needs = self._features.needs
        self._learned: Arrays = {}

    @abstractmethod
    def learn(self, x: Table, y: Table, seed: int) -> Arrays:
        """All that is to be known of x (n, columns) and y (n,), as arrays."""

    @abstractmethod
    def judge(self, x: Table, learned: Mapping[str, NDArray[Any]]) -> Prediction:
        """Mean and standard deviation at x (n, columns) from what `learn` gave."""

    @property
    def arguments(self) -> dict[str, Any]:
        return {name: value for name, value in self._arguments.items() if value is not None}

    def fit(self, samples: Sequence[Sample], targets: ArrayLike, *, seed: int = 0) -> Self:
        y = checked_targets(len(samples), targets)
        x = self._features.fit(samples).table(samples)
        self._learned = self.learn(x, y, seed)
        return self

    def predict(self, samples: Sequence[Sample]) -> Prediction:
        if not self._learned:
            raise NasplatError("the predictor has learned nothing yet: call fit first")
        if not samples:
            return Prediction(np.zeros(0), np.zeros(0))
        return self.judge(self._features.table(samples), self._learned)

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        arrays, rest = self._features.state()
        return named("features", arrays) | named("learned", self._learned), {"columns": rest}

    def restore(self, arrays: Mapping[str, NDArray[Any]], rest: Mapping[str, Any]) -> Self:
        self._features.restore(part(arrays, "features"), rest["columns"])
        self._learned = part(arrays, "learned")
        return self


def named(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    """The arrays with a prefix and a dot before their names."""
    return {f"{prefix}.{name}": array for name, array in arrays.items()}


def part(arrays: Mapping[str, NDArray[Any]], prefix: str) -> Arrays:
    """The arrays of that prefix, without it."""
    start = f"{prefix}."
    return {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}
