"""blend: extra trees and a Gaussian process on routes, path counts and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nasplat.errors import NasplatError
from nasplat.prediction import Prediction, Predictor, PredictorFactory, Sample, load_predictor
from nasplat.prediction.card import find_trained
from nasplat.prediction.features import Features, Input, Table
from nasplat.prediction.gaussian import GaussianProcess, Terms
from nasplat.prediction.limits import check_numbers, small_seed
from nasplat.prediction.normal import NormalScores, checked_targets, map_in, state_of
from nasplat.prediction.tabular import named, part
from nasplat.prediction.trees import Trees

GRAPHS = ("paths", "routes", "encoding")
TERMS = (GRAPHS, ("scores",), ("turns",), ("prior",), (*GRAPHS, "scores", "turns"))
"""The kernels that the Gaussian process sums, each a product over those of its blocks that there are."""


@dataclass(frozen=True, slots=True, eq=False)
class _Learned:
    """units: of the targets. prior: units of the prior's predictions, without knots where there is none."""

    units: NormalScores
    prior: NormalScores
    trees: Trees
    process: GaussianProcess


class Blend(Predictor):
    """The mean of extra trees and of a Gaussian process, both on the normal scores of the targets.

    Trees are good at what columns do alone, the process at what architectures have in common. inputs: what to read
    of samples, see `Features`. trees: how many. prior: a blend that has learned from another space or target,
    whose predictions are one more column. Deviation: of both together, that is sqrt of the mean of both variances
    plus the square of half their difference.
    """

    def __init__(
        self, inputs: Sequence[Input] | None = None, trees: int = 200, prior: Blend | None = None
    ) -> None:
        check_numbers({"trees": trees})
        self.inputs, self.trees, self.prior = inputs, trees, prior
        self._features = Features(inputs)
        self.needs = self._features.needs | (frozenset() if prior is None else prior.needs)
        self._learned: _Learned | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        chosen = {} if self.inputs is None else {"inputs": list(self.inputs)}
        return chosen | {"trees": self.trees}  # a prior is part of what was learned

    def fit(self, samples: Sequence[Sample], targets: ArrayLike, *, seed: int = 0) -> Self:
        from sklearn.ensemble import ExtraTreesRegressor

        y = checked_targets(len(samples), targets)
        units = NormalScores.of(y)
        z = units.scores_of(y)
        self._features.fit(samples)
        prior = NormalScores.of([] if self.prior is None else self.prior.predict(samples).mean)
        blocks = self._blocks(samples, prior)
        grown = ExtraTreesRegressor(self.trees, max_features=0.5, random_state=small_seed(seed))
        grown.fit(_table(blocks), z)
        process = GaussianProcess.fit(_terms(blocks), blocks, z, seed)
        self._learned = _Learned(units, prior, Trees.of(grown.estimators_), process)
        return self

    def predict(self, samples: Sequence[Sample]) -> Prediction:
        if self._learned is None:
            raise NasplatError("the predictor has learned nothing yet: call fit first")
        if not samples:
            return Prediction(np.zeros(0), np.zeros(0))
        blocks = self._blocks(samples, self._learned.prior)
        each = self._learned.trees.predict(_table(blocks))
        mean, deviation = self._learned.process.predict(blocks)
        middle = (each.mean(0) + mean) / 2
        spread = np.sqrt((each.var(0) + deviation**2) / 2 + ((each.mean(0) - mean) / 2) ** 2)
        units = self._learned.units
        low, high = units.numbers_of(middle - spread), units.numbers_of(middle + spread)
        return Prediction(units.numbers_of(middle), (high - low) / 2)

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        if self._learned is None:
            raise NasplatError("the predictor has learned nothing yet: call fit first")
        known = self._learned
        arrays, columns = self._features.state()
        learned = named("trees", known.trees.arrays()) | named("process", known.process.arrays())
        learned |= named("features", arrays) | state_of({"units": known.units, "earlier": known.prior})
        rest: dict[str, Any] = {"columns": columns, "terms": [list(term) for term in known.process.terms]}
        if self.prior is not None:
            own, its = self.prior.state()
            learned |= named("prior", own)
            rest["prior"] = {"arguments": self.prior.arguments, "rest": its}
        return learned, rest

    def restore(self, arrays: Mapping[str, NDArray[Any]], rest: Mapping[str, Any]) -> Self:
        self._features.restore(part(arrays, "features"), rest["columns"])
        self._learned = _Learned(
            map_in(arrays, "units"),
            map_in(arrays, "earlier"),
            Trees.in_arrays(part(arrays, "trees")),
            GaussianProcess.in_arrays(rest["terms"], part(arrays, "process")),
        )
        if "prior" in rest:
            before = rest["prior"]
            self.prior = Blend(**before["arguments"]).restore(part(arrays, "prior"), before["rest"])
            self.needs |= self.prior.needs
        return self

    def _blocks(self, samples: Sequence[Sample], prior: NormalScores) -> dict[str, Table]:
        blocks = self._features.blocks(samples)
        if self.prior is not None:
            blocks["prior"] = prior.scores_of(self.prior.predict(samples).mean)[:, None]
        return blocks


def blend(*, inputs: list[Input] | None = None, trees: int = 200, prior: str | None = None) -> Blend:
    """A blend that has learned nothing yet; prior is a trained one: its folder or name, see `find_trained`."""
    return Blend(inputs, trees, None if prior is None else _trained(find_trained(prior)))


def _trained(folder: Path) -> Blend:
    found, card = load_predictor(folder)
    if not isinstance(found, Blend):
        raise NasplatError(f"{folder} holds a trained {card.plug_in}: a prior has to be a blend")
    return found


def _table(blocks: Mapping[str, Table]) -> Table:
    return np.concatenate(list(blocks.values()), axis=1)


def _terms(blocks: Mapping[str, Table]) -> Terms:
    """TERMS of the blocks that there are, each once."""
    present = (tuple(block for block in term if block in blocks) for term in TERMS)
    return tuple(dict.fromkeys(term for term in present if term))


PREDICTOR: PredictorFactory = blend
