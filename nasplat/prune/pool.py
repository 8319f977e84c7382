"""Units of a network that may go, and which of them a greedy search takes next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nasplat.channels.structure import Numbers
from nasplat.errors import NasplatError
from nasplat.prune.groups import Group
from nasplat.prune.masked import Kept
from nasplat.prune.trials import Norms, Trials

Units: TypeAlias = Mapping[str, Sequence[Numbers | Kept]]
"""By the name of a group its units: the channels that go together, as numbers or as bools (channels,). Units of one
group save the same."""


@dataclass(frozen=True, slots=True)
class GreedySettings:
    """How to search.

    per_step: units that go before the loss of the network without them is found, and all rises become old.
    lazy: a unit's old rise of the loss is taken for a lower bound of its new one, so that only units at the top are
    looked at again (CELF, Leskovec et al., 2007): exact where rises only grow as others go, else an approximation.
    most: how many units a step may look at again, at least; the best of these then goes. 0: as many as it takes.
    candidates: only so many units of each group are looked at, the first that are there; 0: all.
    least: units of each group that stay. norms: by which statistics batch norms work meanwhile.
    """

    per_step: int = 1
    lazy: bool = True
    most: int = 0
    candidates: int = 0
    least: int = 1
    norms: Norms = "stored"

    def __post_init__(self) -> None:
        if self.per_step < 1 or self.least < 1 or self.most < 0 or self.candidates < 0:
            raise NasplatError(
                f"per_step={self.per_step}, least={self.least}, most={self.most}, candidates={self.candidates}: "
                "expected 1 or more of the first two, 0 or more of the others"
            )


def units_of(groups: Sequence[Group], importance: Tensor | None = None) -> dict[str, list[Numbers]]:
    """The units of groups, from the least important up: importance (channels,), or none: in their order.

    A unit takes one channel of each row of its group, those of the same rank, and what they hold.
    """
    found: dict[str, list[Numbers]] = {}
    for group in groups:
        places = np.tile(np.arange(group.size), (len(group.rows), 1))
        if importance is not None:
            places = group.order(importance.numpy())[:, ::-1]
        columns = np.take_along_axis(group.rows, places, axis=1).T
        found[group.name] = [_with_held(group, column) for column in columns]
    return found


def _with_held(group: Group, column: Numbers) -> Numbers:
    held = [group.holds[block] for block in column.tolist() if block in group.holds]
    return np.unique(np.concatenate([column, *held]))


class Pool:
    """The units that are there, the rise of the loss without each as it was last seen, and in which step that was.

    names: of groups. members: the channels of each unit; group (units,): the number of its group.
    """

    def __init__(self, units: Units, settings: GreedySettings) -> None:
        self.names, self.settings = tuple(units), settings
        self.members = [_numbers(one) for group in units.values() for one in group]
        self.group = np.repeat(np.arange(len(units)), [len(group) for group in units.values()])
        self.first = np.searchsorted(self.group, np.arange(len(units)))
        self.there = np.ones(len(self.members), dtype=bool)
        self.rises = np.full(len(self.members), -np.inf)  # one that was never seen comes first
        self.seen = np.zeros(len(self.members), np.int64)
        self.step = 0

    def name(self, unit: int) -> tuple[str, int]:
        """Its group, and its number there."""
        group = int(self.group[unit])
        return self.names[group], unit - int(self.first[group])

    def remove(self, unit: int, kept: Kept) -> Kept:
        """What stays when a unit goes."""
        self.there[unit] = False
        return _without(kept, self.members[unit])

    def smallest(self, kept: Kept) -> Kept:
        """What stays of the least widths."""
        for group in range(len(self.names)):
            own = np.flatnonzero(self.group == group)
            for unit in own[: max(0, len(own) - self.settings.least)]:
                kept = _without(kept, self.members[unit])
        return kept

    def without_one(self, group: int, kept: Kept) -> Kept:
        """What stays when some unit of a group goes; all, where none is there."""
        own = np.flatnonzero(self.there & (self.group == group))
        return _without(kept, self.members[own[0]]) if len(own) else kept

    def next(self, loss: float, saved: NDArray[np.float64], trials: Trials) -> list[int]:
        """The units that go next, cheapest first. loss: of the network without any of them; saved (groups,): by one."""
        self.step += 1
        chosen: list[int] = []
        looked = 0
        for unit in () if self.settings.lazy else self._open(chosen):
            self._look(unit, loss, trials)
        while len(chosen) < self.settings.per_step and len(free := self._open(chosen)):
            prices = _prices(self.rises[free], saved[self.group[free]])
            best = int(free[np.argmin(prices)])
            fresh = self.seen[free] == self.step
            tired = 0 < self.settings.most <= looked and fresh.any() and self.rises[best] > -np.inf
            if tired or self.seen[best] == self.step:
                chosen.append(int(free[fresh][np.argmin(prices[fresh])]))
            else:
                self._look(best, loss, trials)
                looked += 1
        return chosen

    def _look(self, unit: int, loss: float, trials: Trials) -> None:
        rise = trials.without(self.members[unit]) - loss
        self.rises[unit], self.seen[unit] = (np.inf if np.isnan(rise) else rise), self.step

    def _open(self, chosen: Sequence[int]) -> Numbers:
        """The units that may go when some more have gone."""
        there = self.there.copy()
        there[list(chosen)] = False
        left = np.bincount(self.group[there], minlength=len(self.names))
        free = there & (left[self.group] > self.settings.least)
        if self.settings.candidates:
            before = np.cumsum(there) - there
            free &= before - before[self.first[self.group]] < self.settings.candidates
        return np.flatnonzero(free)


def _prices(rises: NDArray[np.float64], saved: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rise by saving; where the loss falls, the more is saved the better."""
    return np.where(rises > 0, rises / saved, rises * saved)


def _numbers(unit: Numbers | Kept) -> Numbers:
    return np.flatnonzero(unit) if unit.dtype == np.bool_ else unit.astype(np.int64)


def _without(kept: Kept, channels: Numbers) -> Kept:
    rest = kept.copy()
    rest[channels] = False
    return rest
