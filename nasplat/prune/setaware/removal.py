"""From what units are worth to which of them go: the cheapest few percent, then everything is judged anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from nasplat.channels.structure import Numbers
from nasplat.errors import NasplatError
from nasplat.prune.costs import Cost
from nasplat.prune.masked import Kept
from nasplat.prune.setaware.units import Units

Values: TypeAlias = NDArray[np.float64]

Judge: TypeAlias = Callable[[Kept], Values]
"""What each unit is worth, (units,), given what is still there; above 0, in one unit for all masks."""

Check: TypeAlias = Callable[[Kept, Numbers], Values]
"""The same of some units (k,), by trying: (k,)."""


@dataclass(frozen=True, slots=True)
class Steps:
    """How units are removed. steps: how often they are judged, the cost falling by equal shares from the whole network
    to the limit. per_cost: whether what counts is the worth of a unit for each bit of cost that it frees, or its worth
    alone. least: the units that stay in every group. tried: so many units that seem cheapest are really tried in each
    step, and only then the cheapest go.
    """

    steps: int = 16
    per_cost: bool = True
    least: int = 1
    tried: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.least < 1 or self.tried < 0:
            raise NasplatError(f"{self}: expected steps and units that stay from 1, and tried from 0")


STEPS = Steps()


def remove(
    units: Units, judge: Judge, cost: Cost, limit: float, steps: Steps = STEPS, check: Check | None = None
) -> Kept:
    """What stays at a cost of at most `limit`. check: asked about `steps.tried` units in each step.

    NasplatError: the limit cannot be met; says the least that can.
    """
    kept = units.whole()
    whole, least = cost(kept), cost(_barest(units, steps.least))
    if least > limit:
        raise NasplatError(
            f"a cost of {limit:g} cannot be met: the least is {least:g}; ask for that, or free groups"
        )
    for step in range(steps.steps):
        goal = limit if step + 1 == steps.steps else whole * (limit / whole) ** ((step + 1) / steps.steps)
        if cost(kept) > goal:
            worth = judge(kept)
            keys = keys_of(units, worth, cost, kept, steps)
            if steps.tried and check is not None:
                cheapest = np.argsort(keys, kind="stable")[: min(steps.tried, int(np.isfinite(keys).sum()))]
                worth[cheapest] = check(kept, cheapest)
                keys = keys_of(units, worth, cost, kept, steps)
            kept = _cheapest(units, kept, keys, cost, goal, steps.least)
    return kept


def _cheapest(units: Units, kept: Kept, keys: Values, cost: Cost, goal: float, least: int) -> Kept:
    """Without the units of the smallest keys, until the cost is met."""
    for unit in np.argsort(keys, kind="stable").tolist():
        if unit in units.removable(kept, least):
            kept = units.without(kept, unit)
            if cost(kept) <= goal:
                break
    return kept


def keys_of(units: Units, worth: Values, cost: Cost, kept: Kept, steps: Steps) -> Values:
    """By what units are ranked, (units,); infinite for those that may not go."""
    keys = np.full(len(units), np.inf)
    may = units.removable(kept, steps.least)
    keys[may] = worth[may]
    if steps.per_cost:
        before = cost(kept)
        for group in np.unique(units.group_of[may]):
            own = may[units.group_of[may] == group]
            keys[own] /= max(before - cost(units.without(kept, int(own[0]))), 1e-12 * abs(before))
    return keys


def _barest(units: Units, least: int) -> Kept:
    """The smallest network that may be left."""
    kept = units.whole()
    for group in range(len(units.groups)):
        for unit in np.flatnonzero(units.group_of == group)[least:].tolist():
            kept = units.without(kept, unit)
    return kept
