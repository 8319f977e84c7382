"""A choice of places in a row, such as the slots between blocks in which a network down-samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, combinations, pairwise
from math import comb
from typing import Any

from nasplat.errors import NasplatError
from nasplat.space.arch import Value
from nasplat.space.choice import Choice, Condition, conditions
from nasplat.space.combination import Combination, check_listable


@dataclass(frozen=True, slots=True, kw_only=True)
class Positions(Combination):
    """Some of the slots between blocks: a value has the lengths of the runs of blocks, a point the rising slots.

    A draw takes one slot after the other, each by its number among those that are still free. So every draw makes a
    combination, and all combinations come equally often. Adjacent values differ by one position moved by one slot.
    """

    @property
    def ranges(self) -> dict[str, int]:
        """One parameter for each position, among the slots that are still free: `name#1`, `name#2`, ..."""
        count = len(positions_of(self.values[0]))
        return {f"{self.name}#{i + 1}": len(self.items) - i for i in range(count)}

    def point(self, value: str) -> Sequence[int]:
        """The slots, rising."""
        return positions_of(value)

    def spell(self, place: Sequence[int]) -> str:
        """The lengths of the runs between these slots."""
        return _spell(place, len(self.items))

    def draw(self, value: str) -> Sequence[int]:
        """The slots taken in rising order: of those that are free, as many fewer are before each as were taken."""
        return [slot - i for i, slot in enumerate(self.point(value))]

    def place(self, draw: Sequence[int]) -> Sequence[int]:
        """The slots that were taken, rising."""
        free = list(range(len(self.items)))
        return sorted(free.pop(number) for number in draw)

    def marks(self, value: str) -> Sequence[int]:
        """For each slot 1 when it is a position, else 0."""
        taken = self.point(value)
        return [int(slot in taken) for slot in range(len(self.items))]

    def describe(self) -> dict[str, Any]:
        """The choice as plain JSON."""
        return Choice.describe(self) | {"positions": len(self.items)}


def positions(name: str, slots: int, count: int, when: Condition | None = None) -> Choice:
    """A choice of `count` of the `slots` between `slots + 1` blocks, in lexicographic order of the positions.

    A value is a text, the numbers of blocks in the runs that the positions make, joined by "-"; `runs` and
    `positions_of` read it. NasplatError for more positions than slots, and for more than 100,000 combinations.

    >>> positions("pools", slots=3, count=2).values
    ('1-1-2', '1-2-1', '2-1-1')
    """
    if not 0 <= count <= slots:
        raise NasplatError(
            f"choice {name!r} has {count} positions in {slots} slots: give 0 <= count <= slots"
        )
    check_listable(name, comb(slots, count))
    values = tuple(_spell(taken, slots) for taken in combinations(range(slots), count))
    return Positions(name, values, True, conditions(name, when), items=tuple(map(str, range(slots))))


def runs(value: Value) -> list[int]:
    """How many blocks there are in each run of a value of `positions`.

    >>> runs("4-3-3")
    [4, 3, 3]
    """
    return [int(run) for run in str(value).split("-")]


def positions_of(value: Value) -> list[int]:
    """The slots of a value of `positions`, rising, from 0 on; slot i is between the blocks i and i + 1.

    >>> positions_of("4-3-3")
    [3, 6]
    """
    return [blocks - 1 for blocks in accumulate(runs(value)[:-1])]


def _spell(slots: Sequence[int], number: int) -> str:
    return "-".join(str(b - a) for a, b in pairwise([-1, *slots, number]))
