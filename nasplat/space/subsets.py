"""A choice of any items out of several, such as the kernels that are summed in a block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Any

from nasplat.errors import NasplatError
from nasplat.space.arch import Value
from nasplat.space.choice import Choice, Condition, conditions, given_values
from nasplat.space.combination import Combination, check_listable


@dataclass(frozen=True, slots=True, kw_only=True)
class Subset(Combination):
    """Items that are on or off: a value names those that are on, and a point has a 0 or 1 for each.

    Adjacent values differ by one item that is added or removed, or exchanged where all sizes are the same.
    """

    @property
    def ranges(self) -> dict[str, int]:
        """One parameter for each item, 0 or 1: `name[item]`."""
        return {f"{self.name}[{item}]": 2 for item in self.items}

    def point(self, value: str) -> Sequence[int]:
        """For each item 1 when it is on, else 0."""
        on = members(value)
        return [int(item in on) for item in self.items]

    def spell(self, place: Sequence[int]) -> str:
        """The items that are on, in their order."""
        return "+".join(item for item, on in zip(self.items, place, strict=True) if on)

    def describe(self) -> dict[str, Any]:
        """The choice as plain JSON."""
        return Choice.describe(self) | {"subset": list(self.items)}


def subset(
    name: str,
    items: Sequence[int | str],
    least: int = 1,
    most: int | None = None,
    when: Condition | None = None,
) -> Choice:
    """A choice of `least` to `most` of the items (by default any but none), from small subsets to large ones.

    A value is a text, the items in their order joined by "+"; `members` reads it. NasplatError for items that repeat
    or hold a "+", for bounds that no subset meets, and for more than 100,000 subsets.

    >>> subset("kernels", (3, 5, 7)).values
    ('3', '5', '7', '3+5', '3+7', '5+7', '3+5+7')
    """
    texts = tuple(str(item) for item in given_values(name, items))
    if len(set(texts)) < len(texts) or any("+" in text or not text for text in texts):
        raise NasplatError(
            f"the items of {name!r} are {list(items)}: give different ones, not empty and without a '+'"
        )
    most = len(texts) if most is None else most
    if not 0 <= least <= most <= len(texts):
        raise NasplatError(
            f"choice {name!r} takes {least} to {most} of {len(texts)} items: give 0 <= least <= most <= {len(texts)}"
        )
    sizes = range(least, most + 1)
    check_listable(name, sum(comb(len(texts), size) for size in sizes))
    values = tuple("+".join(some) for size in sizes for some in combinations(texts, size))
    return Subset(name, values, True, conditions(name, when), items=texts)


def members(value: Value) -> list[str]:
    """The items in a value of a subset; a value of another kind is a single item.

    >>> members("3+7"), members(6), members("")
    (['3', '7'], ['6'], [])
    """
    return [] if value == "" else str(value).split("+")
