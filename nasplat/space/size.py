"""How many architectures a list of conditional choices gives, counted exactly and without listing them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import prod

from nasplat.space.arch import Value
from nasplat.space.choice import Choice

State = tuple[tuple[str, Value], ...]


def count(choices: Sequence[Choice]) -> int:
    """The number of canonical architectures of choices in their order.

    Choices that no condition links count independently. Within a linked group a table holds, for every
    assignment of the choices that later conditions still ask for, how many ways lead to it.
    """
    return prod(_count_group(group) for group in _groups(choices))


def _groups(choices: Sequence[Choice]) -> list[list[Choice]]:
    groups: list[list[Choice]] = []
    for choice in choices:
        parents = {name for name, _ in choice.when}
        linked = [g for g in groups if any(member.name in parents for member in g)]
        groups = [g for g in groups if g not in linked]
        groups.append([member for group in linked for member in group] + [choice])
    return groups


def _count_group(choices: Sequence[Choice]) -> int:
    last_use = {name: i for i, choice in enumerate(choices) for name, _ in choice.when}
    ways: Counter[State] = Counter({(): 1})
    for i, choice in enumerate(choices):
        following: Counter[State] = Counter()
        for state, number in ways.items():
            options = choice.values if choice.active(dict(state)) else None
            for value in options or (None,):
                grown = state if options is None else (*state, (choice.name, value))
                following[tuple(s for s in grown if last_use.get(s[0], -1) > i)] += number
        ways = following
    return ways.total()
