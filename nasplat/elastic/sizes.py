"""Sizes: how long a dimension of a weight, a kernel or a list of blocks is in an architecture.

The network owns its sizes and hands the same one to every layer that shares a width; layers never look at
their neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Protocol

from nasplat.errors import InvalidArchitecture, NasplatError, expected_one_of
from nasplat.space import Choice, Value


class Dimension(Protocol):
    """A size with an upper bound: what layers ask for. `Size`, `Scaled` and `Quotient` are the players.

    Equal dimensions are the same width: what they cut is tied.
    """

    @property
    def maximum(self) -> int:
        """The size in the supernet, which holds the weights of every smaller one."""
        ...

    @property
    def choices(self) -> tuple[str, ...]:
        """The names of the choices that decide it, each once, in a fixed order."""
        ...

    def __call__(self, arch: Mapping[str, Value]) -> int:
        """The size in one architecture, or at given values of its choices."""
        ...

    def __hash__(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Size:
    """A fixed number, or the value of a choice that is at most `maximum`.

    >>> Size(32, "width1")(Arch({"width1": 24})), Size(3)(Arch({}))
    (24, 3)
    """

    maximum: int
    choice: str | None = None

    @property
    def choices(self) -> tuple[str, ...]:
        return _names(self.choice)

    def __call__(self, arch: Mapping[str, Value]) -> int:
        """The size; InvalidArchitecture when the choice is absent or not a number up to `maximum`."""
        if self.choice is None:
            return self.maximum
        value = arch.get(self.choice)
        if type(value) is not int or not 0 <= value <= self.maximum:
            raise InvalidArchitecture(f"{self.choice} is {value!r}: give a number up to {self.maximum}")
        return value


@dataclass(frozen=True, slots=True)
class Scaled:
    """A size times the value of a choice, rounded to a multiple: the width inside a block that expands.

    >>> Scaled(Size(32, "width1"), 2.0, "expand1")(Arch({"width1": 24, "expand1": 0.5}))
    12

    With `multiple` above 1 it rounds as MobileNets do (arXiv:1801.04381, `_make_divisible` of their code): to the
    nearest multiple, at least one, and up where rounding down would lose more than a tenth.
    """

    size: Dimension
    largest: float
    choice: str | None = None
    multiple: int = 1

    @property
    def maximum(self) -> int:
        return _rounded(self.size.maximum * self.largest, self.multiple)

    @property
    def choices(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.size.choices + _names(self.choice)))

    def __call__(self, arch: Mapping[str, Value]) -> int:
        """The size; InvalidArchitecture when the choice is absent or not a number up to `largest`."""
        factor = self.largest if self.choice is None else arch.get(self.choice)
        if not isinstance(factor, int | float) or not 0 < factor <= self.largest:
            raise InvalidArchitecture(f"{self.choice} is {factor!r}: give a number up to {self.largest}")
        return _rounded(self.size(arch) * factor, self.multiple)


def _rounded(value: float, multiple: int) -> int:
    if multiple == 1:
        return max(1, round(value))
    nearest = max(multiple, int(value + multiple / 2) // multiple * multiple)
    return nearest + multiple if nearest < 0.9 * value else nearest


@dataclass(frozen=True, slots=True)
class Quotient:
    """A size divided by another: the input channels of one group of a grouped convolution."""

    size: Dimension
    by: Dimension

    @property
    def maximum(self) -> int:
        return self.size.maximum // self.by.maximum

    @property
    def choices(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.size.choices + self.by.choices))

    def __call__(self, arch: Mapping[str, Value]) -> int:
        return self.size(arch) // self.by(arch)


def assignments(names: Sequence[str], choices: Sequence[Choice]) -> Iterator[dict[str, Value]]:
    """Every combination of values of the named choices, whatever their conditions; NasplatError for an unknown name."""
    known = {choice.name: choice.values for choice in choices}
    for name in names:
        if name not in known:
            raise NasplatError(f"a size follows the choice {name!r}: {expected_one_of(name, known)}")
    for values in product(*(known[name] for name in names)):
        yield dict(zip(names, values, strict=True))


def check_size(dimension: Dimension, choices: Sequence[Choice], least: int = 1) -> None:
    """NasplatError when values of the space's choices give a size that is not from `least` to the maximum."""
    for values in assignments(dimension.choices, choices):
        size = dimension(values)
        if not least <= size <= dimension.maximum:
            where = "".join(f", {name} = {value!r}" for name, value in values.items())
            raise NasplatError(f"a size is {size}{where}: expected {least} to {dimension.maximum}")


def dimension(size: int | Dimension) -> Dimension:
    """A plain number as a fixed size; a dimension as it is."""
    return Size(size) if isinstance(size, int) else size


def _names(choice: str | None) -> tuple[str, ...]:
    return () if choice is None else (choice,)
