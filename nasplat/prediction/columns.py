"""Numbers by name as columns on one scale: logarithms where they span orders of magnitude, robust z-scores for all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

LIMIT = 5.0
"""z-scores beyond it are cut: one broken network must not drown the rest."""

QUARTILES = 1.349  # the distance between the quartiles of a normal distribution, in standard deviations


@dataclass(frozen=True, slots=True)
class Scale:
    """How the values of one name become z-scores.

    floor: for names whose known values are never negative, the smallest positive one; their logarithm is taken, of the
    floor where a value is below it. None: values as they are. centre and width: median, and what divides.
    """

    floor: float | None
    centre: float
    width: float

    @classmethod
    def of(cls, values: Floats) -> Self:
        """Fitted to the finite values of a training pool; one without any gives zeros."""
        known = values[np.isfinite(values)]
        positive = known[known > 0]
        floor = float(positive.min()) if len(positive) and bool((known >= 0).all()) else None
        raw = np.log(np.maximum(known, floor)) if floor is not None else known
        if not len(raw):
            return cls(floor, 0.0, 1.0)
        low, centre, high = np.percentile(raw, (25, 50, 75))
        width = (high - low) / QUARTILES or raw.std() or 1.0
        return cls(floor, float(centre), float(width))

    def __call__(self, values: Floats) -> Floats:
        """z-scores within LIMIT; 0, the median, for what is not finite."""
        with np.errstate(invalid="ignore"):
            raw = values if self.floor is None else np.log(np.maximum(values, self.floor))
        return np.clip(np.where(np.isfinite(raw), (raw - self.centre) / self.width, 0.0), -LIMIT, LIMIT)


Scales: TypeAlias = dict[str, Scale]


def scales_of(rows: Iterable[Mapping[str, float]]) -> Scales:
    """A scale for every name in some rows."""
    found: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            found.setdefault(name, []).append(value)
    return {name: Scale.of(np.array(found[name], np.float64)) for name in sorted(found)}


def table(rows: Sequence[Mapping[str, float]], names: Sequence[str]) -> Floats:
    """Rows of values by name, (n, names); NaN where a row lacks one."""
    return np.array([[row.get(name, np.nan) for name in names] for row in rows], np.float64).reshape(
        len(rows), len(names)
    )


def scaled(values: Floats, scales: Scales) -> NDArray[np.float32]:
    """Of a table (n, names) of the scales' names: each z-score followed by 1 where it was known, (n, 2 names)."""
    scores = [scale(values[:, i]) for i, scale in enumerate(scales.values())]
    pairs = np.stack([np.array(scores).reshape(len(scales), len(values)).T, np.isfinite(values)], 2)
    return pairs.reshape(len(values), -1).astype(np.float32)


def as_json(scales: Scales) -> dict[str, Any]:
    return {name: asdict(scale) for name, scale in scales.items()}


def from_json(form: Mapping[str, Any]) -> Scales:
    return {name: Scale(**entry) for name, entry in form.items()}
