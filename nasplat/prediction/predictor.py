"""The role that every predictor plays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nasplat.prediction.sample import Sample


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """mean (n,) and std (n,), in the unit of the targets."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]


class Predictor(ABC):
    """Learns numbers of architectures from samples, with the verbs of scikit-learn.

    needs: of "encoding", "graph", "scores", "layers" and "weights", the fields of a sample that it reads. It is
    made by its plug-in with typed keyword arguments, which `arguments` gives back as JSON.
    """

    needs: frozenset[str]

    @property
    @abstractmethod
    def arguments(self) -> dict[str, Any]:
        """What the plug-in was called with, as JSON."""

    @abstractmethod
    def fit(self, samples: Sequence[Sample], targets: ArrayLike, *, seed: int = 0) -> Self:
        """Learn from n samples and their targets (n,), higher or lower being better as it may; equal seeds give
        equal predictors. NasplatError for samples that lack what the predictor needs, and for targets that are
        not finite."""

    @abstractmethod
    def predict(self, samples: Sequence[Sample]) -> Prediction:
        """Mean and standard deviation for each sample; NasplatError before `fit`, and for samples of another kind
        than those it learned from."""

    @abstractmethod
    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """All that was learned: arrays by name, and the rest as JSON."""

    @abstractmethod
    def restore(self, arrays: Mapping[str, NDArray[Any]], rest: Mapping[str, Any]) -> Self:
        """Take over what `state` gave; predictions are then equal to the last bit on the same machine."""


PredictorFactory: TypeAlias = Callable[..., Predictor]
"""Typed keyword arguments -> a predictor that has learned nothing yet."""
