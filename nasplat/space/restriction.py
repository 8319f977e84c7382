"""Fewer values for some choices of a list, and what becomes of the conditions on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from nasplat.space.arch import Value
from nasplat.space.choice import Choice, given_values


def restricted(choices: Sequence[Choice], values: Mapping[str, Sequence[Value]]) -> tuple[Choice, ...]:
    """The choices with only the given values, in their own order; what can no longer be active is left out.

    InvalidArchitecture for a value that a choice does not have, NasplatError where none is left.
    """
    kept: dict[str, Choice] = {}
    for choice in choices:
        listed = given_values(choice.name, values.get(choice.name, choice.values))
        given = {choice.index(value) for value in listed}
        left = tuple(value for i, value in enumerate(choice.values) if i in given)
        when = tuple((name, _possible(kept.get(name), legal)) for name, legal in choice.when)
        fewer = replace(choice, values=left, when=when)
        if all(legal for _, legal in when):
            kept[choice.name] = fewer
    return tuple(kept.values())


def _possible(parent: Choice | None, legal: Sequence[Value]) -> tuple[Value, ...]:
    return () if parent is None else tuple(value for value in legal if value in parent.values)
