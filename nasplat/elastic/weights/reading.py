"""When Python may keep what it made of tensors, or read from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar

import torch
from torch import Tensor

Value = TypeVar("Value")


def tensors_may_be_kept() -> bool:
    """Whether tensors made now serve later passes: not what torch.compile traces, nor the fakes of FakeTensorMode."""
    return not torch.compiler.is_compiling() and type(torch.empty(0)) is Tensor


class LastRead(Generic[Value]):
    """What Python reads from tensors: read again where they have changed, since to read them is to wait for a GPU.

    Tensors without values, as on the meta device and in FakeTensorMode, leave what was read last, or the start.
    """

    def __init__(self, start: Value) -> None:
        self._value = start
        self._seen: list[tuple[Tensor, int]] = []

    def __call__(self, read: Callable[[], Value], *tensors: Tensor) -> Value:
        """What `read` finds in the tensors as they are."""
        if any(type(t) is not Tensor or t.is_meta for t in (torch.empty(0), *tensors)):
            return self._value
        counted = not any(t.is_inference() for t in tensors)  # those have no count of their changes
        now = [(t, t._version) for t in tensors] if counted else []
        if not now or not self._saw(now):
            self._value, self._seen = read(), now
        return self._value

    def _saw(self, now: list[tuple[Tensor, int]]) -> bool:
        return len(now) == len(self._seen) and all(
            a is b and m == n for (a, m), (b, n) in zip(self._seen, now, strict=True)
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return type(self)(self._value)  # the counts of copied tensors start again
