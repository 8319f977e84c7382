"""latency_table: a look-up table; the latency of a network is the sum of those of its blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nasplat.errors import NasplatError
from nasplat.prediction import Prediction, Predictor, PredictorFactory, Sample
from nasplat.prediction.blocks import Blocks, Floats, latencies

ALONE = 1e-3
"""The least that is left to the others of a network's prediction: one that has a block for itself is met exactly."""


class LatencyTable(Predictor):
    """latency = base + the sum over the choices of an architecture of cost(choice, value).

    The usual predictor of hardware-aware search (FBNet, arXiv:1812.03443). Its costs are least squares of
    relative errors on measured networks, with a ridge in units of one network, or non-negative least squares.
    `blocks` gives measured costs by "choice=value" instead; such a table predicts at once, and `fit` learns the base
    alone. The standard deviation is the root mean square of the relative errors at each network of a table that was
    fitted to the others, times the prediction; 0 without `fit`.
    """

    needs = frozenset[str]()

    def __init__(
        self, *, ridge: float = 1e-3, nonnegative: bool = False, blocks: dict[str, float] | None = None
    ) -> None:
        if ridge < 0:
            raise NasplatError(f"ridge = {ridge}: give 0 or more")
        for name, cost in (blocks or {}).items():
            if not np.isfinite(cost):
                raise NasplatError(f"blocks: {name!r} = {cost}: give its latency in milliseconds")
        self.ridge, self.nonnegative, self.given = ridge, nonnegative, blocks
        self._blocks: Blocks | None = None
        self._costs, self._spread = (
            np.zeros(1),
            0.0,
        )  # the base, then the costs of the columns; relative deviation

    @property
    def arguments(self) -> dict[str, Any]:
        given = {} if self.given is None else {"blocks": dict(self.given)}
        return {"ridge": self.ridge, "nonnegative": self.nonnegative, **given}

    @property
    def table(self) -> dict[str, float]:
        """The costs by "choice=value", and the "base"; a choice of many numbers has that of a standard deviation."""
        base = {"base": float(self._costs[0])}
        if self._blocks is None:
            return base | (self.given or {})
        return base | dict(zip(self._blocks.names, self._costs[1:].tolist(), strict=True))

    def fit(self, samples: Sequence[Sample], targets: ArrayLike, *, seed: int = 0) -> Self:
        y = latencies(samples, targets)
        if self.given is None:
            self._blocks = Blocks.of(samples)
            self._costs, held_out = self._learned(self._blocks.columns(samples), y)
        else:
            self._costs = np.array([np.median(y - self._sums(samples))])
            held_out = (1 - self.predict(samples).mean / y) * len(y) / (len(y) - 1)  # as of a mean
        self._spread = float(np.sqrt(np.mean(held_out**2)))
        return self

    def predict(self, samples: Sequence[Sample]) -> Prediction:
        mean = self._costs[0] + self._sums(samples)
        return Prediction(mean, np.abs(mean) * self._spread)

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        blocks = None if self._blocks is None else self._blocks.to_json()
        return {"costs": self._costs}, {"blocks": blocks, "spread": self._spread}

    def restore(self, arrays: Mapping[str, NDArray[Any]], rest: Mapping[str, Any]) -> Self:
        self._blocks = None if rest["blocks"] is None else Blocks.from_json(rest["blocks"])
        self._costs, self._spread = np.array(arrays["costs"]), float(rest["spread"])
        return self

    def _sums(self, samples: Sequence[Sample]) -> Floats:
        """What the blocks of each sample cost together, without the base."""
        if self.given is not None:
            return np.array([_sum(self.given, sample) for sample in samples])
        if self._blocks is None:
            raise NasplatError("the look-up table has learned nothing yet: call fit first, or give it blocks")
        return np.asarray(self._blocks.columns(samples) @ self._costs[1:])

    def _learned(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Base and costs that minimise sum_i (1 - (b + x_i c) / y_i)^2 + ridge |c / median(y)|^2; and errors (n,).

        Those are relative, of each network by the others: r_i / (1 - h_i), where h_i is the diagonal of the hat matrix
        A (A^T A)^-1 A^T; for non-negative costs, of the columns A whose cost is above 0.
        """
        from scipy.optimize import nnls

        unit = float(np.median(y))
        penalty = np.sqrt(self.ridge) * np.eye(1 + x.shape[1])[1:]  # not on the base
        rows = np.r_[np.c_[np.ones(len(x)), x] * (unit / y)[:, None], penalty]
        ones = np.r_[np.ones(len(y)), np.zeros(len(penalty))]
        costs: Floats = nnls(rows, ones)[0] if self.nonnegative else np.linalg.lstsq(rows, ones)[0]
        used = rows[:, costs > 0] if self.nonnegative else rows
        share = np.einsum("ij,ji->i", used, np.linalg.pinv(used))[: len(y)]
        return np.asarray(costs * unit), (ones - rows @ costs)[: len(y)] / np.maximum(1 - share, ALONE)


def _sum(given: Mapping[str, float], sample: Sample) -> float:
    names = [f"{name}={value}" for name, value in sample.arch.items()]
    missing = [name for name in names if name not in given]
    if missing:
        raise NasplatError(f"no measured latency of block {missing[0]!r}: add it to blocks (milliseconds)")
    return sum(given[name] for name in names)


PREDICTOR: PredictorFactory = LatencyTable
