"""What pruning may remove: channels of a space, whole blocks of them, or equally many inside every block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nasplat.channels import ChannelSpace, ChannelSpec
from nasplat.channels.structure import Numbers
from nasplat.prune.masked import Kept

TIE = " = "
"""Between the names of groups that are tied."""

Kind = Literal["channels", "blocks", "inside", "tied"]


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Channels that are ranked against each other and removed unit by unit.

    rows (r, size): channel numbers. A unit takes one channel of every row, whichever ranks lowest there: a free space
    has one row, a space inside of blocks a row for each block, spaces whose widths are tied a row each or several.
    holds: of channels that are blocks, the channels (m,) that each of them takes along.
    """

    name: str
    kind: Kind
    rows: Numbers
    holds: Mapping[int, Numbers] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """The number of units."""
        return len(self.rows[0])

    @property
    def parts(self) -> list[str]:
        """The names of the groups that it ties, or its own."""
        return self.name.split(TIE)

    @property
    def channels(self) -> Numbers:
        """All channels that its units hold."""
        return np.unique(np.concatenate([self.rows.ravel(), *self.holds.values()]))

    def values(self, importance: NDArray[np.float64]) -> NDArray[np.float64]:
        """Importance (channels,) by place, (r, size); of a block the mean over what it holds."""
        found = importance.copy()
        for block, held in self.holds.items():
            found[block] = importance[held].mean()
        rows: NDArray[np.float64] = found[self.rows]
        return rows

    def order(self, importance: NDArray[np.float64]) -> Numbers:
        """Places of each row from the most important down, (r, size); equal ones by place."""
        return np.argsort(-self.values(importance), axis=1, kind="stable")

    def left(self, kept: Kept) -> int:
        """How many units stay; rows inside of blocks that go have none."""
        return int(kept[self.rows].sum(1).max())

    def remove(self, kept: Kept, places: Iterable[Sequence[int]]) -> None:
        """Mark all but some places of each row as removed."""
        for row, stay in zip(self.rows, places, strict=True):
            gone = np.delete(row, list(stay))
            kept[gone] = False
            for block in gone.tolist():
                kept[self.holds.get(block, [])] = False


def find_groups(spec: ChannelSpec) -> list[Group]:
    """Groups of all hidden spaces that have more than one unit."""
    children: dict[int, list[ChannelSpace]] = {}
    for space in spec.spaces:
        if space.parent is not None:
            children.setdefault(space.parent, []).append(space)
    found = []
    for number, space in enumerate(spec.spaces):
        if space.kind != "hidden":
            continue
        numbers = np.arange(space.start, space.stop)
        if number in children:
            held = np.concatenate([_inside(child, space.size) for child in children[number]], 1)
            holds = dict(zip(numbers.tolist(), held, strict=True))
            found.append(Group(space.name, "blocks", numbers[None], holds))
        elif space.parent is not None:
            found.append(Group(space.name, "inside", _inside(space, spec.spaces[space.parent].size)))
        else:
            found.append(Group(space.name, "channels", numbers[None]))
    return _named([group for group in found if group.size > 1])


def kept_of(spec_size: int, groups: Sequence[Group], places: Mapping[str, Sequence[Sequence[int]]]) -> Kept:
    """Which channels stay, of what stays in each row of some groups, by name; other groups stay whole."""
    kept = np.ones(spec_size, dtype=bool)
    for group in groups:
        if group.name in places:
            group.remove(kept, places[group.name])
    return kept


def tied(groups: Sequence[Group], rows: int = 1) -> Group:
    """Groups of which equally many units stay. A single row that is longer than the others is dealt out to `rows`."""
    size = min(group.size for group in groups)
    dealt = [g.rows if g.size == size else g.rows.reshape(size, rows).T for g in groups]
    holds = {block: held for group in groups for block, held in group.holds.items()}
    return Group(TIE.join(group.name for group in groups), "tied", np.concatenate(dealt), holds)


def spared(spec: ChannelSpec, groups: Sequence[Group], patterns: Sequence[str]) -> set[str]:
    """Groups that one of some glob patterns names, or that hold what a module or a parameter of such a name gives."""
    owned = {
        channel for name, given in _given(spec) if named(name, patterns) for channel in given.ravel().tolist()
    }
    return {g.name for g in groups if matches(g.name, patterns) or not owned.isdisjoint(g.channels.tolist())}


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a glob pattern fits a name."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def named(parameter: str, patterns: Iterable[str]) -> bool:
    """Whether a glob pattern fits the name of a parameter, or of the module that holds it."""
    return matches(parameter, patterns) or matches(parameter.rpartition(".")[0], patterns)


def _given(spec: ChannelSpec) -> Iterator[tuple[str, Numbers]]:
    """Tensors and the channels that come out where they are used: of a matrix those of its rows, or of its columns
    where these are what it gives, as in embeddings and transposed convolutions."""
    structure = spec.structure
    for block in structure.blocks:
        yield block.parameter, spec.channel_of[block.targets]
    for vector in structure.vectors:
        yield vector.parameter, spec.channel_of[vector.nodes]
    known = {block.parameter for block in structure.blocks} | {
        vector.parameter for vector in structure.vectors
    }
    for slot in spec.slots:
        if slot.parameter not in known:  # a parameter that is used as it stands
            yield slot.parameter, slot.channels


def _inside(space: ChannelSpace, blocks: int) -> Numbers:
    """Channels of a space by block, (blocks, inside)."""
    return np.arange(space.start, space.stop).reshape(blocks, -1)


def _named(groups: list[Group]) -> list[Group]:
    """Groups with names of their own."""
    seen: dict[str, int] = {}
    found = []
    for group in groups:
        times = seen[group.name] = seen.get(group.name, 0) + 1
        found.append(group if times == 1 else replace(group, name=f"{group.name} ({times})"))
    return found
