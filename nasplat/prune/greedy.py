"""Greedy removal: whatever raises the loss least for what it saves goes next, and then everything is looked at again.

A strong baseline, and slow: it looks at the loss of thousands of masked networks, where a score looks at one network.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nasplat.channels.permutation import channels
from nasplat.errors import NasplatError
from nasplat.prune.masked import Kept
from nasplat.prune.pool import GreedySettings, Pool, Units, units_of
from nasplat.prune.scores.evidence import Evidence
from nasplat.prune.trials import Trials

__all__ = ["Greedy", "GreedySettings", "Removal", "Units", "greedy_kept", "units_of"]


@dataclass(frozen=True, slots=True)
class Removal:
    """A unit that went: its group and its number there; what the network costs then; its loss when the step began, and
    the rise for which it was chosen; evaluations of the loss and seconds so far."""

    group: str
    unit: int
    cost: float
    loss: float
    rise: float
    evaluations: int
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Greedy:
    """kept (channels,); loss: of the masked network that is left; removals, in order; evaluations, seconds: in all."""

    kept: Kept
    loss: float
    removals: tuple[Removal, ...]
    evaluations: int
    seconds: float


DEFAULT = GreedySettings()


def greedy_kept(
    evidence: Evidence,
    units: Units,
    cost: Callable[[Kept], float],
    limit: float,
    settings: GreedySettings = DEFAULT,
) -> Greedy:
    """Remove units until cost(kept) <= limit, each time those with the least rise of the loss for the cost they save.

    Deterministic for a deterministic loss. Units whose removal lowers the loss go first, most first. NasplatError: no
    `loss`, a loss that is not finite, or a limit that the least widths do not meet.
    """
    if evidence.loss is None:
        raise NasplatError(
            "greedy removal looks at data; give `loss`, a function that yields each batch's loss"
        )
    pool = Pool(units, settings)
    whole = np.ones(channels(evidence.spec), dtype=bool)
    least = cost(pool.smallest(whole))
    if least > limit:
        raise NasplatError(
            f"a cost of {limit:.6g} cannot be met: the least that can be reached is {least:.6g}; ask for that, or give "
            "more units"
        )
    trials = Trials(evidence.module, evidence.spec, evidence.loss, settings.norms)
    return _removed(pool, trials, cost, whole, limit)


def _removed(pool: Pool, trials: Trials, cost: Callable[[Kept], float], kept: Kept, limit: float) -> Greedy:
    begin = time.perf_counter()
    removals: list[Removal] = []
    loss, spent = trials.keep(kept), cost(kept)
    while spent > limit:
        if not math.isfinite(loss):
            raise NasplatError(f"the masked network has a loss of {loss}; check the network and its data")
        chosen = pool.next(loss, _saved(pool, cost, kept), trials)
        if not chosen:  # units of a group did not save the same
            raise NasplatError(
                f"a cost of {limit:.6g} was not met: {spent:.6g} is left when no unit may go; give units that save the "
                "same within each group, or a higher limit"
            )
        for unit in chosen:
            kept, rise = pool.remove(unit, kept), float(pool.rises[unit])
            spent = cost(kept)
            seconds = time.perf_counter() - begin
            removals.append(Removal(*pool.name(unit), spent, loss, rise, trials.evaluations, seconds))
            if spent <= limit:
                break
        loss = trials.keep(kept)
    return Greedy(kept, loss, tuple(removals), trials.evaluations, time.perf_counter() - begin)


def _saved(pool: Pool, cost: Callable[[Kept], float], kept: Kept) -> NDArray[np.float64]:
    """What one more unit of every group saves, (groups,); a little where that is nothing, so that rises decide."""
    now = cost(kept)
    found = [now - cost(pool.without_one(group, kept)) for group in range(len(pool.names))]
    return np.maximum(found, 1e-12 * abs(now) + 1e-300)
