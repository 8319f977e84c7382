"""latency_transfer: the latency of a new device from a few samples and a pool of known devices (HELP's setting)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nasplat.errors import NasplatError
from nasplat.prediction import Prediction, PredictorFactory, Sample
from nasplat.prediction.blocks import Blocks, Floats, latencies
from nasplat.prediction.costs import Costs, Lesson, bounded, learned_prior
from nasplat.prediction.devices import Adapted, Pool, adapt, spread_out
from nasplat.prediction.transfer import Measured, Transfer

WIDTH = 0.1
"""Of the bounded loss that known devices are learned with."""


class LatencyTransfer(Transfer):
    """A new device as the mean known one, plus a combination of how known ones differ, plus small costs of its own.

    The setting of "HELP: Hardware-Adaptive Efficient Latency Prediction" (arXiv:2106.08630), without its
    meta-learning: everything is linear, so ten samples give the posterior in closed form. `pretrain` learns costs
    of blocks, and of their pairs with `pairs` = True, for each device of a pool; `references` says what to
    measure; `fit` takes these samples of the new device. Few samples are enough because devices differ in few ways.
    """

    needs = frozenset[str]()

    def __init__(self, *, pairs: bool = False) -> None:
        self.pairs = pairs
        self._blocks: Blocks | None = None
        self._pool = Pool({}, np.zeros(0), 1.0)
        self._adapted: Adapted | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        return {"pairs": self.pairs}

    @property
    def known(self) -> Mapping[str, Costs]:
        """The known devices: what they pay for the columns of `blocks`."""
        return self._pool.costs

    @property
    def is_fitted(self) -> bool:
        """Whether it has learned a new device."""
        return self._adapted is not None

    @property
    def blocks(self) -> Blocks:
        """The columns that all devices share; NasplatError before `pretrain`."""
        if self._blocks is None:
            raise NasplatError("no devices are known yet: call pretrain with a pool of them first")
        return self._blocks

    def pretrain(self, pool: Mapping[str, Measured]) -> Self:
        """Learn the known devices, two or more, each from its own samples; a fitted new one is forgotten."""
        if len(pool) < 2:
            raise NasplatError(f"a pool of {len(pool)} known devices: give two or more")
        y = {name: latencies(samples, targets) for name, (samples, targets) in pool.items()}
        self._blocks = Blocks.of([sample for samples, _ in pool.values() for sample in samples])
        x = {name: self._blocks.columns(samples) for name, (samples, _) in pool.items()}
        pairs = (0.0, 0.1, 1.0) if self.pairs else (0.0,)
        lessons = {name: Lesson.of(x[name], y[name]) for name in pool}
        costs = {name: bounded(part, learned_prior(part, pairs), WIDTH) for name, part in lessons.items()}
        typical = np.array([lesson.unit for lesson in lessons.values()])
        self._pool = Pool(costs, typical, float(np.mean([lesson.scale for lesson in lessons.values()])))
        self._adapted = None
        return self

    def without(self, devices: Collection[str]) -> Self:
        """Another predictor that knows all but these devices, and no new one."""
        other = type(self)(pairs=self.pairs)
        other._blocks, other._pool = self._blocks, self._pool.without(devices)
        if len(other.known) < 2:
            raise NasplatError(f"{len(other.known)} known devices would be left: keep two or more")
        return other

    def references(self, candidates: Sequence[Sample], n: int = 10) -> list[int]:
        """The numbers of n candidates to measure on a new device: those that say most about it, told by the pool."""
        if not 0 < n <= len(candidates):
            raise NasplatError(f"{n} references of {len(candidates)} candidates: ask for 1 to all of them")
        return spread_out(self._features(candidates)[0], n, len(self.known))

    def fit(self, samples: Sequence[Sample], targets: ArrayLike, *, seed: int = 0) -> Self:
        y = latencies(samples, targets, least=1)
        self._adapted = adapt(*self._features(samples), y, len(self.known))
        return self

    def predict(self, samples: Sequence[Sample]) -> Prediction:
        if self._adapted is None:
            raise NasplatError(
                "the new device was not learned yet: call fit with a few of its latencies first"
            )
        return Prediction(*self._adapted.at(*self._features(samples)))

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        blocks = None if self._blocks is None else self._blocks.to_json()
        rest: dict[str, Any] = {"blocks": blocks, "devices": list(self.known), "adapted": None}
        arrays = self._pool.arrays()
        if self._adapted is not None:
            arrays |= {"weights": self._adapted.weights, "covariance": self._adapted.covariance}
            rest["adapted"] = {"unit": self._adapted.unit, "noise": self._adapted.noise}
        return arrays, rest

    def restore(self, arrays: Mapping[str, NDArray[Any]], rest: Mapping[str, Any]) -> Self:
        self._blocks = None if rest["blocks"] is None else Blocks.from_json(rest["blocks"])
        self._pool = Pool.of_arrays(rest["devices"], arrays)
        known = rest["adapted"]
        self._adapted = None
        if known is not None:
            weights, covariance = np.array(arrays["weights"]), np.array(arrays["covariance"])
            self._adapted = Adapted(weights, covariance, known["unit"], known["noise"])
        return self

    def _features(self, samples: Sequence[Sample]) -> tuple[Floats, Floats]:
        return self._pool.features(self.blocks.columns(samples))


PREDICTOR: PredictorFactory = LatencyTransfer
