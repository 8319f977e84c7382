"""A choice of some of several items at once: many Optuna parameters and many numbers make one value."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nasplat.errors import InvalidArchitecture, NasplatError
from nasplat.space.arch import Value
from nasplat.space.choice import Choice
from nasplat.space.points import Points, nearest, relative_neighbours

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

MOST_VALUES = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Combination(Choice, ABC):
    """Some of several items; `subset` and `positions` make it.

    Every value is a text with a point on a grid of whole numbers. A draw is a number from 0 on for each Optuna
    parameter and leads to a place on the grid; the value is the one that lies there, else one that is nearest in the
    city-block distance. Of several that are equally near the draw, read as a number, picks one, so that none is
    preferred: its remainder when divided by how many they are. Two values are adjacent when no third lies between
    them (`relative_neighbours`), so that neighbours stay connected where values are left out.
    """

    items: tuple[str, ...]

    @property
    @abstractmethod
    def ranges(self) -> dict[str, int]:
        """The Optuna parameters: name -> how many numbers from 0 on it can be."""

    @abstractmethod
    def point(self, value: str) -> Sequence[int]:
        """The place on the grid of a value."""

    @abstractmethod
    def spell(self, place: Sequence[int]) -> str:
        """The value at a place, if it is a value."""

    def draw(self, value: str) -> Sequence[int]:
        """The draw that stands for a value, one number for each parameter: here its point."""
        return self.point(value)

    def place(self, draw: Sequence[int]) -> Sequence[int]:
        """The place on the grid to which a draw leads: here the draw itself."""
        return draw

    def marks(self, value: str) -> Sequence[int]:
        """For each item 1 when it is in the value, else 0: here its point."""
        return self.point(value)

    def adjacent(self, value: Value) -> list[Value]:
        """The values that no other value separates from this one."""
        return [self.values[j] for j in relative_neighbours(self._points(), self.index(value))]

    @property
    def param_names(self) -> tuple[str, ...]:
        """The names of the Optuna parameters, in the order of a draw."""
        return tuple(self.ranges)

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """The Optuna distribution of every parameter, a range of whole numbers from 0 on."""
        from optuna.distributions import IntDistribution

        return {name: IntDistribution(0, size - 1) for name, size in self.ranges.items()}

    def to_params(self, value: Value) -> dict[str, Value]:
        """The Optuna parameters of a legal value."""
        text = str(self.values[self.index(value)])
        return dict(zip(self.ranges, self.draw(text), strict=True))

    def from_params(self, params: Mapping[str, Any]) -> Value:
        """The value of a draw; InvalidArchitecture for a parameter outside its distribution."""
        draw = [_checked(name, params[name], size) for name, size in self.ranges.items()]
        place = self.place(draw)
        text = self.spell(place)
        if text in self.values:
            return text
        near = nearest(self._points(), place)
        turn = 0
        for number, size in zip(draw, self.ranges.values(), strict=True):
            turn = turn * size + number
        return self.values[near[turn % len(near)]]

    @property
    def encoding_names(self) -> list[str]:
        """The names of the numbers that `encode` gives, `name[item]`."""
        return [f"{self.name}[{item}]" for item in self.items]

    def encode(self, values: Mapping[str, Value]) -> list[float]:
        """For each item 1 when it is in the value, else 0; all zero where the choice is inactive."""
        if self.name not in values:
            return [0.0] * len(self.items)
        return [float(mark) for mark in self.marks(str(values[self.name]))]

    def _points(self) -> Points:
        return np.array([self.point(str(value)) for value in self.values], dtype=np.int64)


def _checked(name: str, param: Any, size: int) -> int:
    if type(param) is not int or not 0 <= param < size:
        raise InvalidArchitecture(f"{name} is {param!r}: choose a whole number from 0 to {size - 1}")
    return param


def check_listable(name: str, values: int) -> None:
    """Raise NasplatError for more values than can be listed."""
    if values > MOST_VALUES:
        raise NasplatError(
            f"choice {name!r} has {values:,} values: give at most {MOST_VALUES:,}, by fewer items or tighter bounds"
        )
