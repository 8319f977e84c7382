"""Constants that meet channels: values that differ along channels give these an order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from nasplat.channels.run import Call, Run
from nasplat.channels.spec import Frozen
from nasplat.channels.values import NONE, Activation, Weight

MEET = "constants differ along channels in it"


def constants(value: Any) -> Iterator[Tensor]:
    """The tensors among arguments, however nested, that are neither activations nor weights."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from constants(list(value.values()))
    elif isinstance(value, tuple | list) and not isinstance(value, torch.Size):
        for one in value:
            yield from constants(one)


def varied_axes(value: Tensor | Activation) -> list[int]:
    """The axes, counted from the last, along which values differ: for what has no data, all that are long."""
    tensor = value.value if isinstance(value, Activation) else value
    if isinstance(value, Activation) and value.uniform:
        return []
    long = [axis - tensor.ndim for axis, size in enumerate(tensor.shape) if size > 1 and tensor.stride(axis)]
    if isinstance(tensor, FakeTensor):
        return long
    return [axis for axis in long if bool((tensor != tensor.narrow(axis, 0, 1)).any())]


def moves(numbers: Tensor, axis: int) -> bool:
    """Whether numbers differ along an axis."""
    return bool(numbers.stride(axis)) and bool((numbers != numbers.narrow(axis, 0, 1)).any())


def meet(run: Run, call: Call, numbers: Tensor, axes: Iterable[int]) -> None:
    """Freeze numbers of channels that differ along one of some axes, counted from the last."""
    if any(-axis <= numbers.ndim and moves(numbers, axis) for axis in axes):
        run.ledger.freeze([numbers], Frozen(call.name, call.operation, MEET))


def meet_constants(run: Run, call: Call, numbers: Tensor) -> None:
    """Freeze channels of a result of operands that broadcast, where a constant among these differs along them."""
    for one in constants((call.args, call.kwargs)):
        meet(run, call, numbers, varied_axes(one))


def is_nobody(value: Any) -> bool:
    """Whether it is a tensor that no channel owns."""
    if isinstance(value, Activation):
        return bool((value.numbers == NONE).all())
    return isinstance(value, Tensor) and not isinstance(value, Weight)
