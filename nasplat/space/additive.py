"""Numbers that add up over the parts of an architecture, such as multiply-adds: counting and sampling by them."""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate, pairwise
from numbers import Integral

import numpy as np

from nasplat.errors import InvalidArchitecture, NasplatError
from nasplat.space.arch import Arch
from nasplat.space.distribution import Counts, count_ahead, rounded
from nasplat.space.space import Space
from nasplat.space.walk import INACTIVE, State, Term, walk

EXACT, LARGEST = 2**21, 2**27  # how many numbers may be kept to round nothing, and at all
TRIES = 10_000

__all__ = ["Additive", "Term"]


class Additive:
    """The sum of terms as a property of every architecture of a space, which may have too many to list.

    `bounds` and the probabilities of `sample` are exact; `histogram` is where `rounding` is 0.

    How: dynamic programming over the choices in reading order. For every step and state a table holds how many ways
    of fixing the remaining choices add how much. Where the exact tables would be long, the cost of every option is
    rounded to a number of units, about `resolution` of which make the whole range: an architecture a of total T(a)
    has a rounded total R(a), and e0 <= T(a) - unit * R(a) <= e1 for all a.

    Why `sample` is uniform: all a with low <= T(a) < high are in the window W of the a with
    low - e1 <= unit * R(a) < high - e0. Going through the steps and taking each option with a probability
    proportional to the number of its completions in W gives every a of W the probability 1 / |W|: the product of
    these fractions telescopes, and the numbers are integers, compared with a random integer. Rejecting what falls
    outside low <= T(a) < high leaves equal probabilities for the rest. What is accepted is at least the share
    |{low - e0 <= unit * R(a) < high - e1}| / |W|: a coarse resolution costs tries, never uniformity.
    """

    def __init__(self, space: Space, terms: Sequence[Term], *, resolution: int = 4096) -> None:
        self.space, self.terms, self.resolution = space, tuple(terms), resolution
        for value in (value for term in terms for value in term.table.values()):
            if not isinstance(value, Integral):
                raise NasplatError(
                    f"a term has the value {value!r}: give whole numbers, in a small enough unit"
                )
        names = {choice.name for choice in space.choices}
        speaking = [term for term in terms if not names.isdisjoint(term.choices)]
        self._constant = sum(term({}) for term in terms if names.isdisjoint(term.choices))
        self._steps = walk(space.choices, speaking)

    def total(self, arch: Arch) -> int:
        """The sum of the terms of a canonical architecture."""
        return sum(term(arch) for term in self.terms)

    @cached_property
    def bounds(self) -> tuple[int, int]:
        """The smallest and the largest total."""
        ends: dict[State, tuple[int, int]] = {(): (self._constant, self._constant)}
        for step in reversed(self._steps):
            ends = {
                state: (
                    min(o.cost + ends[o.after][0] for o in options),
                    max(o.cost + ends[o.after][1] for o in options),
                )
                for state, options in step.options.items()
            }
        return ends[()]

    @property
    def rounding(self) -> int:
        """How far a counted total may be from the exact one; 0: `histogram` is exact."""
        low, high = self._counts.error
        return -((low - high) // 2)

    def edges(self, bins: int) -> list[int]:
        """The bins + 1 edges of intervals of equal width (up to 1) that hold all totals."""
        if bins < 1:
            raise NasplatError(f"bins = {bins}: give a number from 1 on")
        low, high = self.bounds[0], self.bounds[1] + 1
        return [low + (high - low) * i // bins for i in range(bins + 1)]

    def histogram(self, edges: Sequence[float]) -> list[int]:
        """How many architectures have edges[i] <= total < edges[i + 1], for every i.

        Totals closer than `rounding` to an edge may be on its wrong side.
        """
        below = [self._below(edge) for edge in edges]
        return [high - low for low, high in pairwise(below)]

    def sample(self, rng: np.random.Generator, low: float, high: float) -> Arch:
        """An architecture with low <= total < high, each with the same probability.

        InvalidArchitecture where there is none, or so few among the neighbours that none was met.
        """
        least, most = self.bounds
        if low <= most and high > least:
            window = self._window(max(low, least), min(high, most + 1))
            tries = TRIES if self._counts.whole.between(*window) else 0
            for _ in range(tries):
                arch = self._draw(rng, *window)
                if low <= self.total(arch) < high:
                    return arch
        raise InvalidArchitecture(
            f"{self.space.name} has no architecture, or hardly any, of a total from {low} to below {high}: "
            f"totals go from {least} to {most}; choose a wider interval"
        )

    def _window(self, low: float, high: float) -> tuple[int, int]:
        """Bounds on the rounded totals of all architectures with low <= total < high."""
        unit, (least, most) = self._counts.unit, self._counts.error
        first, end = (math.ceil(edge) - self._constant for edge in (low, high))
        return -((most - first) // unit), -((least - end) // unit)

    def _draw(self, rng: np.random.Generator, low: int, high: int) -> Arch:
        """An architecture with low <= rounded total < high, each with the same probability."""
        counts, values = self._counts, {}
        state: State = ()
        for step, ahead in zip(self._steps, counts.ahead[1:], strict=True):
            options = step.options[state]
            shifts = [rounded(option.cost, counts.unit) for option in options]
            ways = [ahead[o.after].between(low - s, high - s) for o, s in zip(options, shifts, strict=True)]
            pick = bisect(list(accumulate(ways)), random_below(sum(ways), rng))
            values[step.choice.name], state = options[pick].setting, options[pick].after
            low, high = low - shifts[pick], high - shifts[pick]
        return self.space.arch({name: v for name, v in values.items() if v is not INACTIVE})

    def _below(self, edge: float) -> int:
        counts, (least, most) = self._counts, self.bounds
        if not least < edge <= most:
            return counts.whole.number if edge > most else 0
        cut = math.ceil(edge) - self._constant - sum(counts.error) // 2
        return counts.whole.below(-(-cut // counts.unit))

    @cached_property
    def _counts(self) -> Counts:
        low, high = self.bounds
        unit = max(1, -((low - high) // self.resolution))
        counts = count_ahead(self._steps, 1, EXACT) or count_ahead(self._steps, unit, LARGEST)
        if counts is None:
            raise NasplatError(
                f"{self.space.name}: counting needs too much memory; lower resolution = {self.resolution}"
            )
        return counts


def random_below(bound: int, rng: np.random.Generator) -> int:
    """A uniform random integer from 0 to bound - 1; the bound may be larger than 64 bits."""
    bits = bound.bit_length()
    while True:
        number = int.from_bytes(rng.bytes(-(-bits // 8)), "little") >> (-bits % 8)
        if number < bound:
            return number
