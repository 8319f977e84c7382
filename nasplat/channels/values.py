"""What a traced tensor is: numbers of neurons, or elements of a parameter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

NONE = 0
"""The number of an element that belongs to no neuron. Neurons count from 1, blocks of channels from -1 down."""


@dataclass(frozen=True, slots=True, eq=False)
class Activation:
    """A tensor on its way through the network.

    value: its shape and type, without data. numbers: of the same shape, the neuron or block that each element
    belongs to. fresh: it comes from one row of neurons through nothing but its norm, and only the next operation
    reads it, so that what follows may still count as that row's own. places: numbers of a second kind, of neurons
    that a layer over places gave, as the perceptron over tokens of a mixer does; only layers over places read them.
    uniform: one constant everywhere, such as zeros.
    """

    value: Tensor
    numbers: Tensor
    fresh: bool = False
    places: Tensor | None = None
    uniform: bool = False

    def read_twice(self) -> Activation:
        """The same for several readers."""
        return replace(self, fresh=False)


@dataclass(frozen=True, slots=True, eq=False)
class Weight:
    """A parameter or buffer, or a rearrangement of it.

    elements: of the shape of value, the place of each element in the flattened parameter; None where it stands as it
    is. mixed: its numbers were computed from several elements, so that no element belongs to one channel.
    """

    name: str
    value: Tensor
    elements: Tensor | None = None
    mixed: bool = False

    @property
    def places(self) -> Tensor:
        """`elements`, made where it is None."""
        if self.elements is not None:
            return self.elements
        return torch.arange(self.value.numel()).reshape(self.value.shape)


Carrier = Activation | Weight


def carriers(value: Any) -> Iterator[Carrier]:
    """The activations and weights among arguments, however nested."""
    if isinstance(value, Activation | Weight):
        yield value
    elif isinstance(value, tuple | list):
        for one in value:
            yield from carriers(one)
    elif isinstance(value, dict):
        yield from carriers(list(value.values()))
    elif isinstance(value, slice):
        yield from carriers((value.start, value.stop, value.step))


def mapped(value: Any, change: Callable[[Carrier], Any]) -> Any:
    """The same arguments with every activation and weight changed."""
    if isinstance(value, Activation | Weight):
        return change(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(mapped(one, change) for one in value))
    if isinstance(value, tuple | list):
        return type(value)(mapped(one, change) for one in value)
    if isinstance(value, dict):
        return {key: mapped(one, change) for key, one in value.items()}
    return value


def bare(value: Any) -> Any:
    """Arguments as tensors without data."""
    return mapped(value, lambda carrier: carrier.value)


def along(numbers: Tensor, *axes: int) -> Tensor:
    """The different rows (r, length) of numbers along some axes, flattened together, the most frequent first."""
    turned = numbers.movedim(axes, tuple(range(-len(axes), 0)))
    front = turned.ndim - len(axes)
    moving = [axis for axis in range(front) if turned.shape[axis] > 1 and turned.stride(axis)]
    turned = turned[tuple(slice(None) if axis in moving else 0 for axis in range(front))]
    rows = turned.reshape(-1, turned.shape[len(moving) :].numel())
    if len(rows) == 1:
        return rows
    rows, counts = rows.unique(dim=0, return_counts=True)
    ordered: Tensor = rows[counts.argsort(descending=True, stable=True)]
    return ordered


def spread(row: Tensor, shape: torch.Size, axis: int) -> Tensor:
    """A row (length,) along one axis of a shape, the same everywhere else; takes no memory."""
    axis %= len(shape)
    return row.reshape(-1, *(1,) * (len(shape) - axis - 1)).expand(shape)
