"""latency_table: a look-up table; the latency of a network is the sum of those of its blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nasplat.errors import NasplatError
from nasplat.prediction import Prediction, Predictor, PredictorFactory, Sample
from nasplat.prediction.blocks import Blocks, Floats, latencies


class LatencyTable(Predictor):
    """latency = base + the sum over the choices of an architecture of cost(choice, value).

    The usual predictor of hardware-aware search (FBNet, arXiv:1812.03443, section 3.2). Its costs are least squares of
    relative errors on measured networks, with a ridge in units of one network, or non-negative least squares.
    `blocks` gives measured costs by "choice=value" instead; `fit` then learns the base alone. The standard deviation
    is the relative one of the residuals, times the prediction.
    """

    needs = frozenset[str]()

    def __init__(
        self, *, ridge: float = 1e-3, nonnegative: bool = False, blocks: dict[str, float] | None = None
    ) -> None:
        if ridge < 0:
            raise NasplatError(f"ridge = {ridge}: give 0 or more")
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
        names = [] if self._blocks is None else self._blocks.names
        return dict(zip(["base", *names], self._costs.tolist(), strict=False))

    def fit(self, samples: Sequence[Sample], targets: ArrayLike, *, seed: int = 0) -> Self:
        y = latencies(samples, targets)
        self._blocks = Blocks.of(samples)
        x = _with_base(self._blocks.columns(samples))
        self._costs = self._learned(x, y) if self.given is None else self._measured(x, y, self.given)
        self._spread = float(np.std(y / (x @ self._costs) - 1))
        return self

    def predict(self, samples: Sequence[Sample]) -> Prediction:
        if self._blocks is None:
            raise NasplatError("the look-up table has learned nothing yet: call fit first")
        mean = _with_base(self._blocks.columns(samples)) @ self._costs
        return Prediction(mean, np.abs(mean) * self._spread)

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        blocks = None if self._blocks is None else self._blocks.to_json()
        return {"costs": self._costs}, {"blocks": blocks, "spread": self._spread}

    def restore(self, arrays: Mapping[str, NDArray[Any]], rest: Mapping[str, Any]) -> Self:
        self._blocks = None if rest["blocks"] is None else Blocks.from_json(rest["blocks"])
        self._costs, self._spread = np.array(arrays["costs"]), float(rest["spread"])
        return self

    def _learned(self, x: Floats, y: Floats) -> Floats:
        """Costs that minimise sum_i (1 - x_i c / y_i)^2 + ridge |c / median(y)|^2."""
        from scipy.optimize import nnls

        unit = float(np.median(y))
        penalty = np.sqrt(self.ridge) * np.eye(x.shape[1])[1:]  # not on the base
        rows, ones = np.r_[x * (unit / y)[:, None], penalty], np.r_[np.ones(len(y)), np.zeros(len(penalty))]
        costs: Floats = nnls(rows, ones)[0] if self.nonnegative else np.linalg.lstsq(rows, ones)[0]
        return np.asarray(costs * unit)

    def _measured(self, x: Floats, y: Floats, given: Mapping[str, float]) -> Floats:
        """The given costs, and the base that is left over at the median network."""
        assert self._blocks is not None
        missing = [name for name in self._blocks.names if name not in given]
        if missing:
            raise NasplatError(
                f"no measured latency of block {missing[0]!r}: add it to blocks (milliseconds)"
            )
        costs = np.array([0.0, *(given[name] for name in self._blocks.names)])
        costs[0] = np.median(y - x @ costs)
        return costs


def _with_base(x: Floats) -> Floats:
    return np.c_[np.ones(len(x)), x]


PREDICTOR: PredictorFactory = LatencyTable
