"""Bounds that nothing can keep: seen from sizes before a study starts, or from what was dropped while it ran."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nasplat.errors import InvalidStudy
from nasplat.metric import Candidate, Cost, Workbench
from nasplat.store import Outcome
from nasplat.study.plan import Bound, Plan

SAMPLED = 6
"""Random architectures that are counted beside the smallest and the largest; each takes some milliseconds."""


def check_bounds(plan: Plan, bench: Workbench) -> None:
    """Raise InvalidStudy for a bound on a size that even the smallest and the largest architecture break.

    Only in a space of ordered choices: where one has no order, nobody knows which architectures are the extremes.
    """
    bounds = [bound for bound in plan.bounds if bound.metric.cost is Cost.COUNT]
    if not bounds or not all(choice.ordered for choice in bench.space.choices):
        return
    space, rng = bench.space, np.random.default_rng(bench.seed)
    archs = [space.smallest(), space.largest(), *(space.sample(rng) for _ in range(SAMPLED))]
    candidates = [Candidate(arch, replace(bench, inherits=False)) for arch in archs]
    for bound in bounds:
        _check(bound, _values(bound, candidates))


def _values(bound: Bound, candidates: Sequence[Candidate]) -> list[float]:
    values = []
    for candidate in candidates:
        try:
            values.append(bound.metric.measure(candidate).value)
        except Exception:  # an architecture that cannot be built: a trial of it fails and says why
            continue
    return [value for value in values if value is not None]


def _check(bound: Bound, values: Sequence[float]) -> None:
    if not values:
        return
    least, most = min(values), max(values)
    too_low = bound.high is not None and bound.high < least
    if too_low or (bound.low is not None and bound.low > most):
        raise InvalidStudy(
            f"constraint {bound} cannot be met: the smallest, the largest and {SAMPLED} random architectures have "
            f"{least:,.0f} to {most:,.0f}; change the bound or the space"
        )


def why_dropped(outcomes: Sequence[Outcome]) -> str:
    """What stopped these architectures: each bound with how often and how nearly it was broken, and the filter."""
    nearest: dict[str, float] = {}
    times: Counter[str] = Counter()
    for outcome in outcomes:
        broken = {name: by for name, by in outcome.constraints.items() if by > 0}
        times.update(list(broken) or [outcome.error or ""])
        nearest |= {name: min(by, nearest.get(name, by)) for name, by in broken.items()}
    told = [
        f"{n} by {why}{f' (the nearest is {nearest[why]:.1%} off)' if why in nearest else ''}"
        for why, n in times.most_common(3)
    ]
    return f"{len(outcomes):,} architectures in a row were dropped: {', '.join(told)}; loosen it, or change the space"
