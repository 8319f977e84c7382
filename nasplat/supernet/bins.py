"""Bins of what architectures cost, such as multiply-adds, and how often different ways of drawing meet them."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from nasplat.elastic import ElasticSpace, mac_terms
from nasplat.errors import InvalidArchitecture, TrainingError
from nasplat.space import Additive, Arch, Space


@dataclass(frozen=True, slots=True)
class Bins:
    """Intervals low <= total < high of a total, one beside the other, but for those that hold no architecture."""

    totals: Additive
    intervals: tuple[tuple[float, float], ...]

    @classmethod
    def between(cls, totals: Additive, edges: Sequence[float]) -> Bins:
        """The bins between rising edges. InvalidArchitecture where all of them are empty."""
        bins = cls(totals, tuple(interval for interval in pairwise(edges) if _holds_any(totals, interval)))
        if not bins.intervals:
            least, most = totals.bounds
            raise InvalidArchitecture(f"no architecture between {edges}: totals go from {least} to {most}")
        return bins

    @classmethod
    def equal(cls, totals: Additive, number: int) -> Bins:
        """At most so many bins of equal width over the whole range."""
        return cls.between(totals, totals.edges(number))

    def __len__(self) -> int:
        return len(self.intervals)

    def find(self, arch: Arch) -> int | None:
        """The number of an architecture's bin; None where it is in none."""
        total = self.totals.total(arch)
        number = bisect([low for low, _ in self.intervals], total) - 1
        return number if number >= 0 and total < self.intervals[number][1] else None

    def sample(self, number: int, rng: np.random.Generator) -> Arch:
        """A random architecture of a bin, each with the same probability."""
        return self.totals.sample(rng, *self.intervals[number])


def mac_bins(space: Space, number: int) -> Bins:
    """At most so many bins of multiply-adds, of equal width. TrainingError for a space without an elastic network.

    Takes a second or two for a large network, which is watched to learn what its layers cost.
    """
    if not isinstance(space, ElasticSpace):
        raise TrainingError(f"bins of multiply-adds need an elastic space, and {space.name} is none")
    return Bins.equal(Additive(space, mac_terms(space)), number)


def _holds_any(totals: Additive, interval: tuple[float, float]) -> bool:
    try:
        totals.sample(np.random.default_rng(0), *interval)
    except InvalidArchitecture:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Shares:
    """The shares of cells between edges of a total, under three ways of drawing an architecture; each sums to 1.

    choices: each choice uniformly; architectures: all of them uniformly; bins: first a bin, each alike.
    """

    choices: tuple[float, ...]
    architectures: tuple[float, ...]
    bins: tuple[float, ...]


def shares(bins: Bins, edges: Sequence[float]) -> Shares:
    """How often each cell edges[i] <= total < edges[i + 1] is met; exact where bins.totals.rounding is 0."""
    totals = bins.totals
    fine = sorted({*edges, *(edge for interval in bins.intervals for edge in interval)})
    counted = dict(zip(pairwise(fine), totals.histogram(fine), strict=True))

    def inside(low: float, high: float) -> int:
        return sum(number for (a, b), number in counted.items() if low <= a and b <= high)

    def of_bins(low: float, high: float) -> float:
        return sum(inside(max(low, a), min(high, b)) / max(1, inside(a, b)) for a, b in bins.intervals)

    return Shares(
        choices=_normal(totals.histogram(edges, drawn=True)),
        architectures=_normal(totals.histogram(edges)),
        bins=_normal([of_bins(low, high) for low, high in pairwise(edges)]),
    )


def _normal(numbers: Sequence[float]) -> tuple[float, ...]:
    return tuple(number / sum(numbers) for number in numbers)
