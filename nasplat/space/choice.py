"""A choice: a name, its legal values, and when it matters.

Beside it live its outer forms: Optuna distributions, Optuna parameters and a piece of a vector.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nasplat.errors import InvalidArchitecture, NasplatError
from nasplat.space.arch import Value, check_value

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

MOST_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Choice:
    """One named decision of a space; `categorical` and `ordinal` make it, `subset` and `positions` richer ones.

    `ordered` values grow from the first to the last, and have neighbours (the adjacent ones); values that are not
    ordered are all neighbours.
    The choice is active when every earlier choice named in `when` is active and has one of its values there.
    """

    name: str
    values: tuple[Value, ...]
    ordered: bool
    when: tuple[tuple[str, tuple[Value, ...]], ...] = ()

    def __post_init__(self) -> None:
        for value in self.values:
            check_value(self.name, value)
        if not self.values:
            raise NasplatError(f"choice {self.name!r} has no values: give at least one")
        # Equal in Python (1 and True) is too close: Optuna and `in` could not tell them apart.
        if len(set(self.values)) < len(self.values):
            raise NasplatError(f"choice {self.name!r} has equal values {self.values}: list each value once")

    @property
    def kind(self) -> str:
        """What the choice is about: its name up to the first digit or underscore, "kernel" of "kernel1_2"."""
        return re.split(r"[\d_]", self.name, maxsplit=1)[0] or self.name

    @property
    def largest(self) -> Value:
        """The last value where values are ordered, else the first."""
        return self.values[-1 if self.ordered else 0]

    def active(self, earlier: Mapping[str, Value]) -> bool:
        """Whether the choice matters, given the values of the earlier active choices."""
        return all(name in earlier and earlier[name] in legal for name, legal in self.when)

    def index(self, value: Any) -> int:
        """The position of a legal value; InvalidArchitecture names the choice and its legal values."""
        i = self.values.index(value) if value in self.values else -1
        if i >= 0 and type(self.values[i]) is type(value):
            return i
        raise InvalidArchitecture(f"{self.name} is {value!r}: {self.advice}")

    @property
    def advice(self) -> str:
        """What to choose, as the end of a message; of very many values only the first and the last."""
        some = list(self.values)
        if len(some) <= MOST_SHOWN:
            return f"choose one of {some}"
        return f"choose one of {len(some)} values from {some[0]!r} to {some[-1]!r}"

    def only(self, values: Sequence[Value]) -> Choice:
        """The choice with only these of its values, in its own order; InvalidArchitecture for one it does not have."""
        kept = {self.index(value) for value in given_values(self.name, values)}
        return replace(self, values=tuple(value for i, value in enumerate(self.values) if i in kept))

    def adjacent(self, value: Value) -> list[Value]:
        """The values one step away: next in order, or all others where there is no order."""
        i = self.index(value)
        return [v for j, v in enumerate(self.values) if j != i and (abs(i - j) == 1 or not self.ordered)]

    @property
    def param_names(self) -> tuple[str, ...]:
        """The names of the Optuna parameters that a value is drawn as: a plain choice is one, of its own name."""
        return (self.name,)

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """The Optuna distribution by parameter: over values, or over positions where ordered values are no range."""
        from optuna.distributions import CategoricalDistribution, IntDistribution

        if not self.ordered:
            return {self.name: CategoricalDistribution(self.values)}
        steps = _as_range(self.values) or range(len(self.values))
        return {self.name: IntDistribution(steps[0], steps[-1], step=steps.step)}

    @property
    def _positional(self) -> bool:
        return self.ordered and _as_range(self.values) is None

    def to_params(self, value: Value) -> dict[str, Value]:
        """The Optuna parameters of a legal value."""
        i = self.index(value)
        return {self.name: i if self._positional else value}

    def from_params(self, params: Mapping[str, Any]) -> Value:
        """The value of the Optuna parameters; InvalidArchitecture for one outside its distribution."""
        param = params[self.name]
        if not self._positional:
            return self.values[self.index(param)]
        last = len(self.values) - 1
        if type(param) is not int or not 0 <= param <= last:
            raise InvalidArchitecture(f"{self.name} is {param!r}: choose a position from 0 to {last}")
        return self.values[param]

    @property
    def encoding_names(self) -> list[str]:
        """The names of the numbers that `encode` gives."""
        return [self.name] if self.ordered else [f"{self.name}={value!r}" for value in self.values]

    def encode(self, values: Mapping[str, Value]) -> list[float]:
        """(i + 1) / n where ordered, else one-hot; all zero where the choice is inactive."""
        i = self.index(values[self.name]) if self.name in values else -1
        return (
            [(i + 1) / len(self.values)] if self.ordered else [float(i == j) for j in range(len(self.values))]
        )

    def describe(self) -> dict[str, Any]:
        """The choice as plain JSON."""
        when = {name: list(values) for name, values in self.when}
        return {"name": self.name, "values": list(self.values), "ordered": self.ordered, "when": when}


def _as_range(values: Sequence[Value]) -> range | None:
    """The range of these ints, if they rise in equal steps."""
    ints = [v for v in values if type(v) is int]
    step = ints[1] - ints[0] if len(ints) > 1 else 1
    if step < 1 or len(ints) < len(values) or ints != list(range(ints[0], ints[-1] + 1, step)):
        return None
    return range(ints[0], ints[-1] + 1, step)


Condition = Mapping[str, Sequence[Value]]


def categorical(name: str, values: Sequence[Value], when: Condition | None = None) -> Choice:
    """A choice among values without an order, such as operations.

    >>> categorical("activation", ("relu", "gelu"), when={"depth": (2, 3)}).active({"depth": 1})
    False
    """
    return Choice(name, given_values(name, values), False, conditions(name, when))


def ordinal(name: str, values: Sequence[Value], when: Condition | None = None) -> Choice:
    """A choice among values in the order of growing networks, such as depths or widths.

    >>> ordinal("width", (16, 24, 32)).distributions
    {'width': IntDistribution(high=32, log=False, low=16, step=8)}
    """
    return Choice(name, given_values(name, values), True, conditions(name, when))


def conditions(name: str, when: Condition | None) -> tuple[tuple[str, tuple[Value, ...]], ...]:
    """The field `when` of a choice from what a person gives for it."""
    return tuple(
        (other, given_values(f"{name} when {other}", values)) for other, values in (when or {}).items()
    )


def given_values(name: str, values: Sequence[Value]) -> tuple[Value, ...]:
    """The values that a person lists for a choice; NasplatError unless it is a list of some kind."""
    if isinstance(values, str) or not isinstance(values, Sequence | range):
        raise NasplatError(f"the values of {name!r} are {values!r}: give a sequence, such as ({values!r},)")
    return tuple(values)


def check_choices(choices: Sequence[Choice]) -> None:
    """Raise NasplatError unless names differ and conditions speak of values of earlier choices."""
    earlier: dict[str, Container[Value]] = {}
    params: set[str] = set()
    for choice in choices:
        if choice.name in earlier:
            raise NasplatError(f"two choices are named {choice.name!r}: give each its own name")
        if not params.isdisjoint(choice.param_names):
            raise NasplatError(
                f"choice {choice.name!r} shares a parameter with an earlier one: name it differently"
            )
        params.update(choice.param_names)
        for name, values in choice.when:
            _check_condition(choice.name, name, values, earlier)
        earlier[choice.name] = choice.values


def _check_condition(
    choice: str, name: str, values: Sequence[Value], earlier: Mapping[str, Container[Value]]
) -> None:
    if name not in earlier:
        known = ", ".join(earlier) or "none"
        raise NasplatError(f"choice {choice!r} depends on {name!r}: name an earlier choice ({known})")
    if not values:
        raise NasplatError(
            f"choice {choice!r} has no value of {name!r} that makes it active: give at least one"
        )
    for value in values:
        if value not in earlier[name]:
            raise NasplatError(f"choice {choice!r} waits for {name!r} = {value!r}, which it never is")
