"""latency: costs of blocks and, where they pay, of their pairs, fitted to one device. The default for latencies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nasplat.errors import NasplatError
from nasplat.prediction import Prediction, Predictor, PredictorFactory, Sample
from nasplat.prediction.blocks import Blocks, Floats, latencies
from nasplat.prediction.costs import Costs, Lesson, Prior, best_centre, bounded, learned_prior, squares

FOLDS = 5
PAIRS = (0.1, 1.0)
"""What is tried for the prior variance of pairs beside that of blocks."""
GAIN = 0.005
"""By how much a later way of fitting must be better than an earlier one, as a share of the networks."""

Way: TypeAlias = tuple[Prior, float | None]
"""A prior, and the width of the bounded loss; None for squares."""


class Latency(Predictor):
    """latency = base + costs of blocks + costs of pairs of blocks, by Gaussian process regression on both.

    Four ways to fit it are compared: costs of blocks by squared relative errors, the same by a loss that is bounded at
    the tolerance and at half of it, and costs of blocks and pairs by squares. That which brings the most training
    networks within the tolerance is taken, in 5-fold cross-validation with a factor on the predictions that is chosen
    likewise: where a device has slow periods, latencies have two modes, and a prediction between them serves both. The
    standard deviation is the root mean square of relative errors in cross-validation, times the prediction. Cost: some
    twenty solutions of n equations for pairs, which `pairs` = False leaves out; the rest takes as many as there are
    blocks.
    """

    needs = frozenset[str]()

    def __init__(self, *, tolerance: float = 0.1, pairs: bool = True) -> None:
        if not 0 < tolerance < 1:
            raise NasplatError(f"tolerance = {tolerance}: give a relative error between 0 and 1, such as 0.1")
        self.tolerance, self.pairs = tolerance, pairs
        self._blocks: Blocks | None = None
        self._costs = Costs(0.0, np.zeros(0), np.zeros((0, 0)), 0.0)
        self._factor, self._spread = 1.0, 0.0

    @property
    def arguments(self) -> dict[str, Any]:
        return {"tolerance": self.tolerance, "pairs": self.pairs}

    def fit(self, samples: Sequence[Sample], targets: ArrayLike, *, seed: int = 0) -> Self:
        y = latencies(samples, targets, least=2 * FOLDS)
        self._blocks = Blocks.of(samples)
        x = self._blocks.columns(samples)
        fold = np.random.default_rng(seed).permutation(np.arange(len(y)) % FOLDS)
        best = -np.inf
        for way in self._ways(Lesson.of(x, y)):
            ratios = self._held_out(x, y, fold, way)
            factor, share = best_centre(ratios, self.tolerance)
            if share > best + GAIN:
                best, chosen = share, way
                self._factor, self._spread = factor, float(np.sqrt(np.mean((1 / (factor * ratios) - 1) ** 2)))
        self._costs = self._fitted(x, y, chosen)
        return self

    def predict(self, samples: Sequence[Sample]) -> Prediction:
        if self._blocks is None:
            raise NasplatError("the latency predictor has learned nothing yet: call fit first")
        mean = self._factor * self._costs.at(self._blocks.columns(samples))
        return Prediction(mean, mean * self._spread)

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        costs = self._costs
        blocks = None if self._blocks is None else self._blocks.to_json()
        numbers = {"base": costs.base, "least": costs.least, "factor": self._factor, "spread": self._spread}
        return {"blocks": costs.blocks, "pairs": costs.pairs}, {"blocks": blocks, **numbers}

    def restore(self, arrays: Mapping[str, NDArray[Any]], rest: Mapping[str, Any]) -> Self:
        self._blocks = None if rest["blocks"] is None else Blocks.from_json(rest["blocks"])
        self._costs = Costs(
            rest["base"], np.array(arrays["blocks"]), np.array(arrays["pairs"]), rest["least"]
        )
        self._factor, self._spread = float(rest["factor"]), float(rest["spread"])
        return self

    def _ways(self, lesson: Lesson) -> Iterator[Way]:
        """Simple ones first."""
        plain = learned_prior(lesson, (0.0,))
        yield from ((plain, None), (plain, self.tolerance), (plain, self.tolerance / 2))
        if self.pairs:
            yield learned_prior(lesson, PAIRS), None

    def _held_out(self, x: Floats, y: Floats, fold: NDArray[np.int_], way: Way) -> Floats:
        """Predictions over latencies (n,), each network by a fit to the other folds."""
        ratios = np.empty(len(y))
        for k in range(FOLDS):
            out = fold == k
            ratios[out] = self._fitted(x[~out], y[~out], way).at(x[out]) / y[out]
        return ratios

    def _fitted(self, x: Floats, y: Floats, way: Way) -> Costs:
        (prior, width), lesson = way, Lesson.of(x, y)
        return squares(lesson, prior) if width is None else bounded(lesson, prior, width)


PREDICTOR: PredictorFactory = Latency
