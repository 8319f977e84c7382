"""Routers that read the architecture: one atom for each value of a key."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from nasplat.elastic.weights.rows import Equal
from nasplat.elastic.weights.soft import AnyArch, SoftArch
from nasplat.elastic.weights.sources import Bank, Coefficient, Slot, SourceFactory, WeightSource
from nasplat.errors import InvalidArchitecture
from nasplat.space import Choice, Value


@dataclass(frozen=True, slots=True)
class Key:
    """A number below `count` that every architecture has, such as how many paths are active.

    choices: the names of the choices that it reads; index: the number at given values of them.

    >>> Key(("paths",), 3, lambda arch: len(str(arch["paths"])) - 1)(Arch({"paths": "35"}))
    1
    """

    choices: tuple[str, ...]
    count: int
    index: Callable[[Mapping[str, Value]], int]

    @classmethod
    def of(cls, choice: Choice) -> Key:
        """The position of a choice's value."""
        return cls((choice.name,), len(choice.values), partial(_position, choice))

    def __len__(self) -> int:
        return self.count

    def __call__(self, arch: Mapping[str, Value]) -> int:
        """The key of an architecture; InvalidArchitecture when it is no number from 0 to count - 1."""
        number = self.index(arch)
        if type(number) is not int or not 0 <= number < self.count:
            names = ", ".join(self.choices)
            raise InvalidArchitecture(f"the key of {names} is {number!r}: expected 0 to {self.count - 1}")
        return number

    def distribution(self, arch: SoftArch) -> Tensor:
        """The probabilities (count,) of the keys."""
        return arch.expectation(self.choices, Equal(self, tuple(range(self.count))))


def _position(choice: Choice, arch: Mapping[str, Value]) -> int:
    return choice.index(arch.get(choice.name))


@dataclass(frozen=True, slots=True)
class OneHot:
    """The router that picks the atom of the architecture's key and leaves the others out of the graph.

    A soft architecture mixes the atoms by the probabilities of their keys.
    """

    key: Key

    def __call__(self, arch: AnyArch) -> Sequence[Coefficient]:
        if isinstance(arch, SoftArch):
            return self.key.distribution(arch).unbind()
        picked = self.key(arch)
        return [1.0 if k == picked else 0.0 for k in range(len(self.key))]


def keyed(key: Key) -> SourceFactory:
    """Sources with weights of their own for every value of a key, each sliced."""

    def source(slot: Slot) -> WeightSource:
        return WeightSource(Bank(slot, len(key)), OneHot(key))

    return source
