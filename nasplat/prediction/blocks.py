"""Architectures as columns of blocks: which value stands at which choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nasplat.errors import NasplatError
from nasplat.prediction.sample import Sample
from nasplat.space import Value

Floats: TypeAlias = NDArray[np.float64]

LEVELS = 8
"""A choice of numbers that takes more different values than this is one column of numbers, not one for each value."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """The blocks that were seen: columns that are 1 where an architecture has a block, and columns of numbers.

    pairs: (choice, value) of each block. numbers: (choice, mean, standard deviation) of each choice of many numbers,
    such as the side of the image; its column is standardised. A choice that is not active has neither.
    """

    pairs: tuple[tuple[str, Value], ...]
    numbers: tuple[tuple[str, float, float], ...] = ()

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Self:
        """The blocks of these samples, in the order of their choices and values."""
        values: dict[str, set[Value]] = {}
        for sample in samples:
            for name, value in sample.arch.items():
                values.setdefault(name, set()).add(value)
        many = [name for name, seen in values.items() if len(seen) > LEVELS and all(map(_is_number, seen))]
        pairs = [
            (name, v) for name, seen in values.items() if name not in many for v in sorted(seen, key=repr)
        ]
        return cls(tuple(pairs), tuple((name, *_moments(samples, name)) for name in many))

    @property
    def names(self) -> list[str]:
        """The columns as words: "choice=value", and the name of a choice of many numbers."""
        return [*(f"{name}={value}" for name, value in self.pairs), *(name for name, _, _ in self.numbers)]

    def columns(self, samples: Sequence[Sample]) -> Floats:
        """(n, p); NasplatError for a choice or a value that was not learned."""
        place = {pair: i for i, pair in enumerate(self.pairs)}
        scale = {name: (len(place) + i, mean, std) for i, (name, mean, std) in enumerate(self.numbers)}
        table = np.zeros((len(samples), len(place) + len(scale)))
        for row, sample in zip(table, samples, strict=True):
            for name, value in sample.arch.items():
                if (name, value) in place:
                    row[place[name, value]] = 1
                elif name in scale and _is_number(value):
                    column, mean, std = scale[name]
                    row[column] = (float(value or 0) - mean) / std
                else:
                    raise self._unknown(name, value)
        return table

    def to_json(self) -> dict[str, Any]:
        """As plain JSON, for the state of a predictor."""
        return {
            "pairs": [list(pair) for pair in self.pairs],
            "numbers": [list(entry) for entry in self.numbers],
        }

    @classmethod
    def from_json(cls, form: Mapping[str, Any]) -> Self:
        """What `to_json` gave."""
        return cls(tuple((n, v) for n, v in form["pairs"]), tuple((n, m, s) for n, m, s in form["numbers"]))

    def _unknown(self, name: str, value: Value) -> NasplatError:
        known = [other for choice, other in self.pairs if choice == name]
        expected = f"one of {known}" if known else "a choice that was"
        return NasplatError(
            f"block {name} = {value!r} was not among those learned: expected {expected}; "
            "learn from architectures that have it"
        )


def latencies(samples: Sequence[Sample], targets: ArrayLike, least: int = 2) -> Floats:
    """Targets (n,) as numbers; NasplatError for another shape, fewer than `least`, and what is no latency."""
    y = np.asarray(targets, np.float64)
    if y.shape != (len(samples),) or len(y) < least:
        raise NasplatError(
            f"{len(samples)} samples and latencies of shape {y.shape}: give one for each of {least} or more"
        )
    wrong = ~(np.isfinite(y) & (y > 0))
    if wrong.any():
        raise NasplatError(
            f"latency {int(wrong.argmax())} is {y[wrong][0]}: expected a number above 0; leave such samples out"
        )
    return y


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _moments(samples: Sequence[Sample], name: str) -> tuple[float, float]:
    seen = np.array([sample.arch[name] for sample in samples if name in sample.arch], np.float64)
    return float(seen.mean()), float(seen.std())
