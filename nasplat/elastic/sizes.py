"""Sizes: how long a dimension of a weight, a kernel or a list of blocks is in an architecture.

The network owns its sizes and hands the same one to every layer that shares a width; layers never look at
their neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from nasplat.errors import InvalidArchitecture
from nasplat.space import Arch


class Dimension(Protocol):
    """A size with an upper bound: what layers ask for. `Size`, `Scaled` and `Quotient` are the players."""

    @property
    def maximum(self) -> int:
        """The size in the supernet, which holds the weights of every smaller one."""
        ...

    def __call__(self, arch: Arch) -> int:
        """The size in one architecture."""
        ...


@dataclass(frozen=True, slots=True)
class Size:
    """A fixed number, or the value of a choice that is at most `maximum`.

    >>> Size(32, "width1")(Arch({"width1": 24})), Size(3)(Arch({}))
    (24, 3)
    """

    maximum: int
    choice: str | None = None

    def __call__(self, arch: Arch) -> int:
        """The size; InvalidArchitecture when the choice is absent or not a number up to `maximum`."""
        if self.choice is None:
            return self.maximum
        value = arch.get(self.choice)
        if type(value) is not int or not 0 <= value <= self.maximum:
            raise InvalidArchitecture(f"{self.choice} is {value!r}: give a number up to {self.maximum}")
        return value


@dataclass(frozen=True, slots=True)
class Scaled:
    """A size times the value of a choice, rounded, at least 1: the width inside a block that expands.

    >>> Scaled(Size(32, "width1"), 2.0, "expand1")(Arch({"width1": 24, "expand1": 0.5}))
    12
    """

    size: Dimension
    largest: float
    choice: str | None = None

    @property
    def maximum(self) -> int:
        return _times(self.size.maximum, self.largest)

    def __call__(self, arch: Arch) -> int:
        """The size; InvalidArchitecture when the choice is absent or not a number up to `largest`."""
        factor = self.largest if self.choice is None else arch.get(self.choice)
        if not isinstance(factor, int | float) or not 0 < factor <= self.largest:
            raise InvalidArchitecture(f"{self.choice} is {factor!r}: give a number up to {self.largest}")
        return _times(self.size(arch), factor)


def _times(size: int, factor: float) -> int:
    return max(1, round(size * factor))


@dataclass(frozen=True, slots=True)
class Quotient:
    """A size divided by another: the input channels of one group of a grouped convolution."""

    size: Dimension
    by: Dimension

    @property
    def maximum(self) -> int:
        return self.size.maximum // self.by.maximum

    def __call__(self, arch: Arch) -> int:
        return self.size(arch) // self.by(arch)


def dimension(size: int | Dimension) -> Dimension:
    """A plain number as a fixed size; a dimension as it is."""
    return Size(size) if isinstance(size, int) else size
