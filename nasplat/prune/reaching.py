"""The widths that meet a target: found by bisection over the order of removal, then filled up."""

from __future__ import annotations

from bisect import bisect_left
from functools import partial

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
            "that, lower the minimum widths or what widths are multiples of, or free frozen groups"
        )
    steps = bisect_left(range(full), True, key=lambda n: cost(order.kept(order.left(n))) <= limit)
    left = order.left(steps)
    return _filled(order, left, steps, cost, limit) if fill else left


def _filled(order: Order, left: Left, steps: int, cost: Cost, limit: float) -> dict[str, int]:
    """Groups in the order in which they lost their last unit, the latest first, get back as many as fit."""
    found = dict(left)

    def exceeds(name: str, width: int) -> bool:
        return cost(order.kept(found | {name: width})) > limit

    for number in dict.fromkeys(reversed(order.steps[:steps])):
        name, size = order.groups[number].name, order.groups[number].size
        wider = sorted({order.widths.fit(width, size) for width in range(found[name] + 1, size + 1)})
        if wider and not exceeds(name, wider[0]):  # most often one is too much already
            found[name] = wider[bisect_left(wider, True, lo=1, key=partial(exceeds, name)) - 1]
    return found


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
