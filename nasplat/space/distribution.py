"""How often each total occurs along a walk: exact numbers of any size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from nasplat.space.walk import State, Step

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Distribution:
    """Different totals in rising order (n,), and how many cases lie before each of them and in all (n + 1,).

    Numbers of cases are int64 where they fit, and Python's integers elsewhere.
    """

    totals: NDArray[np.int64]
    before: NDArray[Any]

    def __len__(self) -> int:
        return len(self.totals)

    @property
    def number(self) -> int:
        """The number of cases."""
        return int(self.before[-1])

    def below(self, bound: int) -> int:
        """The number of cases with a total less than the bound."""
        return int(self.before[self.totals.searchsorted(bound)])

    def between(self, low: int, high: int) -> int:
        """The number of cases with low <= total < high."""
        return self.below(high) - self.below(low) if low < high else 0


Part: TypeAlias = tuple[Distribution, int]  # cases, and what is added to their totals


def mixture(parts: Sequence[Part]) -> Distribution:
    """The cases of all parts together."""
    if len(parts) == 1 and parts[0][1] == 0:
        return parts[0][0]
    everything = sum(cases.number for cases, _ in parts)
    kind = np.dtype(np.int64 if everything < 2**63 else object)
    totals = np.concatenate([cases.totals + shift for cases, shift in parts])
    numbers = np.concatenate([np.diff(cases.before).astype(kind) for cases, _ in parts])
    order = totals.argsort(kind="stable")  # quick: the parts are sorted
    totals, numbers = totals[order], numbers[order]
    first = np.flatnonzero(np.diff(totals, prepend=totals[0] - 1))
    merged = np.add.reduceat(numbers, first)
    return Distribution(totals[first], np.concatenate([np.zeros(1, kind), merged.cumsum()]))


NOTHING = Distribution(np.zeros(1, np.int64), np.array([0, 1]))
"""One case of total 0."""


@dataclass(frozen=True, slots=True)
class Counts:
    """In how many ways a walk can go on from each of its places and states, by the rounded total that they add.

    A rounded total is a number of units: the sum over the steps of each step's cost, rounded.
    error: bounds on total - unit * (rounded total) of a whole walk.
    """

    unit: int
    error: tuple[int, int]
    ahead: Sequence[Mapping[State, Distribution]]

    @property
    def whole(self) -> Distribution:
        """All walks from the start."""
        return self.ahead[0][()]


def count_ahead(steps: Sequence[Step], unit: int, most: int) -> Counts | None:
    """The counts for a unit; None where that takes more than `most` numbers."""
    ahead: list[Mapping[State, Distribution]] = [{(): NOTHING}]
    low = high = numbers = 0
    for step in reversed(steps):
        tables = {}
        for state, options in step.options.items():
            parts = [(ahead[-1][o.after], rounded(o.cost, unit)) for o in options]
            tables[state] = mixture(parts)
            numbers += len(tables[state])
            if numbers > most:
                return None
        errors = {o.cost - unit * rounded(o.cost, unit) for options in step.options.values() for o in options}
        low, high = low + min(errors), high + max(errors)
        ahead.append(tables)
    return Counts(unit, (low, high), ahead[::-1])


def rounded(cost: int, unit: int) -> int:
    """The nearest number of units.

    >>> rounded(24, 10), rounded(25, 10), rounded(-4, 10)
    (2, 3, 0)
    """
    return (2 * cost + unit) // (2 * unit)
