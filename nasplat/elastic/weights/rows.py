"""Rows of 0 and 1 that depend on a few choices: what a soft architecture averages.

The table of a row holds it at every combination of values, in the order of `assignments`. It never changes: it is
made once for each device, but not under torch.compile, which would trace through the cache and takes it as a constant,
nor where the tensors that are made have no values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from nasplat.elastic.sizes import Dimension, assignments
from nasplat.elastic.weights.reading import tensors_may_be_kept
from nasplat.space import Choice, Value


class Row(Protocol):
    """A row of 0 and 1 that depends, through one number, on the values of some choices. Equal rows are the same."""

    def __call__(self, values: Mapping[str, Value]) -> int:
        """The number."""
        ...

    def spread(self, numbers: Tensor) -> Tensor:
        """The rows (j, m) of numbers (j, 1)."""
        ...

    def __hash__(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Leading:
    """The first indices of a dimension (maximum,) that its size covers."""

    dimension: Dimension

    def __call__(self, values: Mapping[str, Value]) -> int:
        return self.dimension(values)

    def spread(self, numbers: Tensor) -> Tensor:
        return torch.arange(self.dimension.maximum, device=numbers.device) < numbers


@dataclass(frozen=True, slots=True)
class Centred:
    """The centred indices of a dimension (maximum,) that its size covers."""

    dimension: Dimension

    def __call__(self, values: Mapping[str, Value]) -> int:
        return self.dimension(values)

    def spread(self, numbers: Tensor) -> Tensor:
        first = (self.dimension.maximum - numbers) // 2
        index = torch.arange(self.dimension.maximum, device=numbers.device)
        return (index >= first) & (index < first + numbers)


@dataclass(frozen=True, slots=True)
class Equal:
    """Which of several numbers it is."""

    number: Callable[[Mapping[str, Value]], int]
    numbers: tuple[int, ...]

    def __call__(self, values: Mapping[str, Value]) -> int:
        return self.number(values)

    def spread(self, numbers: Tensor) -> Tensor:
        return torch.tensor(self.numbers, device=numbers.device) == numbers


def table(row: Row, choices: tuple[Choice, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """The rows (combinations, m) at every combination of values of the choices."""
    make = _kept_table if tensors_may_be_kept() else _make_table
    return make(row, choices, dtype, device)


def possible_sizes(dimension: Dimension, choices: tuple[Choice, ...]) -> tuple[int, ...]:
    """All sizes of a dimension, in rising order."""
    find = _find_sizes if torch.compiler.is_compiling() else _kept_sizes
    return find(dimension, choices)


def _numbers(number: Callable[[Mapping[str, Value]], int], choices: tuple[Choice, ...]) -> list[int]:
    """A number at every combination of values."""
    return [number(values) for values in assignments([choice.name for choice in choices], choices)]


def _make_table(row: Row, choices: tuple[Choice, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """The rows (combinations, m) at every combination of values."""
    with torch.inference_mode(False):  # what is kept will serve training, too
        return row.spread(torch.tensor(_numbers(row, choices), device=device)[:, None]).to(dtype)


def _find_sizes(dimension: Dimension, choices: tuple[Choice, ...]) -> tuple[int, ...]:
    return tuple(sorted(set(_numbers(dimension, choices))))


_kept_table = lru_cache(maxsize=4096)(_make_table)
_kept_sizes = lru_cache(maxsize=4096)(_find_sizes)
