"""The widths that meet a target: found by bisection over the order of removal, then filled up."""

from __future__ import annotations

from bisect import bisect_left

from nasplat.errors import NasplatError
from nasplat.prune.costs import Cost
from nasplat.prune.ranking import Left, Order


def reach(order: Order, cost: Cost, limit: float, what: str, fill: bool = True) -> dict[str, int]:
    """Units left by group, as many as the limit allows: cost <= limit.

    The shortest beginning of the order that meets it, in about log2(units) evaluations of the cost; with `fill`, units
    then return, the most important first, as long as the limit holds. NasplatError: nothing meets it.
    """
    full = len(order.steps)
    at_best = cost(order.kept(order.left(full)))
    if at_best > limit:
        raise NasplatError(
            f"{what} of {_number(limit)} cannot be met: the least that can be reached is {_number(at_best)}; ask for "
            "that, lower the minimum widths, or free frozen groups"
        )
    steps = bisect_left(range(full), True, key=lambda n: cost(order.kept(order.left(n))) <= limit)
    left = order.left(steps)
    return _filled(order, left, steps, cost, limit) if fill else left


def _filled(order: Order, left: Left, steps: int, cost: Cost, limit: float) -> dict[str, int]:
    """Groups in the order in which they lost their last unit, the latest first, get it back where it fits."""
    found = dict(left)
    for number in dict.fromkeys(reversed(order.steps[:steps])):
        group = order.groups[number]
        while found[group.name] < group.size:
            wider = found | {group.name: order.widths.fit(found[group.name] + 1, group.size)}
            if cost(order.kept(wider)) > limit:
                break
            found = wider
    return found


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
