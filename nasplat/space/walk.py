"""A walk over the choices of a space in reading order: the states that it can pass, and what each option costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, TypeAlias

from nasplat.errors import NasplatError
from nasplat.space.arch import Value
from nasplat.space.choice import Choice
from nasplat.space.elimination import reading_order, still_needed

MOST_STATES = 2**18


class Inactive(Enum):
    """What a choice is where it does not matter; None may be a value."""

    INACTIVE = "inactive"


INACTIVE = Inactive.INACTIVE
Setting: TypeAlias = Value | Inactive
State: TypeAlias = tuple[Setting, ...]


@dataclass(frozen=True, slots=True)
class Term:
    """A summand of a total: a table over the values of a few choices, None for an inactive one."""

    choices: tuple[str, ...]
    table: Mapping[tuple[Value, ...], int]

    def __call__(self, values: Mapping[str, Setting]) -> int:
        """The summand where choices have these values; NasplatError where the table has no entry for them."""
        key = tuple(None if (v := values.get(name)) is INACTIVE else v for name in self.choices)
        if key not in self.table:
            raise NasplatError(f"the term of {list(self.choices)} has no entry for {list(key)}: complete it")
        return self.table[key]


class Option(NamedTuple):
    """A setting of the choice at hand, what the terms that it completes cost, and the state it leads to."""

    setting: Setting
    cost: int
    after: State


@dataclass(frozen=True, slots=True)
class Step:
    """The options of one choice in every state in which the walk can find it.

    A state holds the settings of those earlier choices that later conditions and terms still ask for.
    """

    choice: Choice
    options: Mapping[State, Sequence[Option]]


def walk(choices: Sequence[Choice], terms: Sequence[Term]) -> list[Step]:
    """The steps that fix all choices, the first from the state (). Every term names one of them at least.

    NasplatError where conditions and terms link so many choices that the states are too many.
    """
    named = {choice.name: choice for choice in choices}
    spans = [(term, named.keys() & set(term.choices)) for term in terms]
    scopes = [*({c.name, *dict(c.when)} for c in choices), *(span for _, span in spans)]
    order = reading_order(choices, scopes)
    steps: list[Step] = []
    states: Iterable[State] = [()]
    names: tuple[str, ...] = ()
    for i, needed in enumerate(still_needed(order, scopes)):
        choice, fixed = named[order[i]], set(order[: i + 1])
        done = [term for term, span in spans if choice.name in span and span <= fixed]
        options = {s: _options(choice, dict(zip(names, s, strict=True)), done, needed) for s in states}
        steps.append(Step(choice, options))
        states, names = {option.after for some in options.values() for option in some}, needed
        if len(states) > MOST_STATES:
            raise NasplatError(f"terms link too many choices: {len(states)} settings of {', '.join(needed)}")
    return steps


def _options(
    choice: Choice, earlier: Mapping[str, Setting], done: Sequence[Term], needed: Sequence[str]
) -> list[Option]:
    """What the choice can be after the earlier ones; the terms that are done now know all that they ask for."""
    active = choice.active({name: v for name, v in earlier.items() if not isinstance(v, Inactive)})
    options = []
    for setting in choice.values if active else (INACTIVE,):
        values = {**earlier, choice.name: setting}
        cost = sum(term(values) for term in done)
        options.append(Option(setting, cost, tuple(values[name] for name in needed)))
    return options
