"""Bins of what architectures cost, such as multiply-adds."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
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
    """At most so many bins of multiply-adds, of equal width. TrainingError for a space without an elastic network."""
    if not isinstance(space, ElasticSpace):
        raise TrainingError(f"bins of multiply-adds need an elastic space, and {space.name} is none")
    return Bins.equal(mac_totals(space), number)


@lru_cache(maxsize=4)
def mac_totals(space: ElasticSpace) -> Additive:
    """The multiply-adds of every architecture. NasplatError where they are no sum of tables; see `mac_terms`.

    Takes seconds for a large network, which is watched to learn what its layers cost; known for the last few spaces.
    """
    return Additive(space, mac_terms(space))


def _holds_any(totals: Additive, interval: tuple[float, float]) -> bool:
    try:
        totals.sample(np.random.default_rng(0), *interval)
    except InvalidArchitecture:
        return False
    return True
