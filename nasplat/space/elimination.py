"""In which order to fix choices one by one, so that few earlier values must be kept in mind.

What links choices is a scope: the names of which one condition, or one term of a sum, speaks.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import prod

from nasplat.space.choice import Choice


def reading_order(choices: Sequence[Choice], scopes: Collection[Collection[str]]) -> list[str]:
    """The names of the choices, each after those that its condition names, so that few earlier ones stay linked.

    Choices are eliminated greedily: the one first whose neighbours have the fewest combinations of values (as in
    variable elimination; Koller and Friedman, Probabilistic Graphical Models, 9.4). In the elimination tree every
    scope lies on one path from a root, so on a walk down the tree, branch after branch, only ancestors of the current
    choice are linked to what follows; a branch that is linked to more of them comes earlier.
    """
    sizes = {choice.name: len(choice.values) + bool(choice.when) for choice in choices}
    linked: dict[str, set[str]] = {name: set() for name in sizes}
    for scope in scopes:
        for name in scope:
            linked[name] |= set(scope) - {name}
    waits = {c.name: {other.name for other in choices if c.name in dict(other.when)} for c in choices}
    above: dict[str, set[str]] = {}
    while linked:
        free = [name for name in reversed(linked) if waits[name] <= above.keys()]
        name = min(free, key=lambda n: prod(sizes[other] for other in linked[n]))
        above[name] = linked.pop(name)
        for other in above[name]:
            linked[other] = (linked[other] | above[name]) - {name, other}
    return _walk_down(above, list(sizes))


def _walk_down(above: Mapping[str, Collection[str]], names: Sequence[str]) -> list[str]:
    """The elimination tree from its roots; above: what each name was linked to when it was eliminated."""
    rank = {name: i for i, name in enumerate(above)}
    parent = {name: min(linked, key=rank.__getitem__, default=None) for name, linked in above.items()}
    ranked = sorted(names, key=lambda name: -len(above[name]))
    order: list[str] = []
    waiting = [name for name in reversed(ranked) if parent[name] is None]
    while waiting:
        order.append(waiting.pop())
        waiting += [name for name in reversed(ranked) if parent[name] == order[-1]]
    return order


def still_needed(order: Sequence[str], scopes: Collection[Collection[str]]) -> list[tuple[str, ...]]:
    """For each place in the order: the names up to there that share a scope with a later one."""
    place = {name: i for i, name in enumerate(order)}
    until = {name: max((place[o] for s in scopes if name in s for o in s), default=-1) for name in order}
    return [tuple(name for name in order[: i + 1] if until[name] > i) for i in range(len(order))]
