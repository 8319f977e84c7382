"""What routers read of an architecture: the vector of `Space.encode`, and its exact mean for a soft one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from nasplat.elastic.weights.reading import tensors_may_be_kept
from nasplat.elastic.weights.soft import AnyArch, SoftArch
from nasplat.errors import NasplatError
from nasplat.space import Arch, Choice, Value

MOST_KEPT = 4096


@dataclass(frozen=True, slots=True)
class Encoded:
    """What a choice adds to the encoding: a row (m,) for each of its values, zero where the choice is inactive.

    earlier: the choices that decide whether it is active, in the order of the space.
    """

    choice: Choice
    earlier: tuple[Choice, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The choices that the row depends on."""
        return (*(choice.name for choice in self.earlier), self.choice.name)

    def __call__(self, values: Mapping[str, Value]) -> int:
        """0 where the choice is inactive, else the position of its value, from 1."""
        active: dict[str, Value] = {}
        for choice in (*self.earlier, self.choice):
            if choice.active(active):
                active[choice.name] = values[choice.name]
        name = self.choice.name
        return self.choice.index(active[name]) + 1 if name in active else 0

    def spread(self, numbers: Tensor) -> Tensor:
        """The rows (j, m) of numbers (j, 1)."""
        choice = self.choice
        rows = [choice.encode({}), *(choice.encode({choice.name: value}) for value in choice.values)]
        return torch.tensor(rows, device=numbers.device)[numbers[:, 0]]


class ArchEncoding:
    """The encoding (m,) of architectures among some choices: those of the supernet's space, whatever is trained of it.

    A soft architecture has the exact mean of its encodings, so that one-hot masks are routed as slices are. What was
    encoded is kept, since every layer asks: plain vectors for each architecture and device, means for as long as the
    soft architecture lives. NasplatError where there is no choice.
    """

    def __init__(self, choices: Sequence[Choice]) -> None:
        self.choices = tuple(choices)
        if not self.choices:
            raise NasplatError("a space without choices has one architecture: there is nothing to route by")
        self._rows = tuple(Encoded(choice, _earlier(choice, self.choices)) for choice in self.choices)
        self._kept = lru_cache(MOST_KEPT)(self._encode)
        self._means: WeakKeyDictionary[SoftArch, Tensor] = WeakKeyDictionary()

    def __len__(self) -> int:
        return sum(len(choice.encoding_names) for choice in self.choices)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # it never changes

    def __call__(self, arch: AnyArch, device: torch.device) -> Tensor:
        """The vector (m,) on a device; that of a soft architecture is where its probabilities are."""
        if isinstance(arch, SoftArch):
            return self._mean(arch)
        return (self._kept if tensors_may_be_kept() else self._encode)(arch, device)

    def _encode(self, arch: Arch, device: torch.device) -> Tensor:
        numbers = [number for choice in self.choices for number in choice.encode(arch)]
        with torch.inference_mode(False):  # what is kept will serve training, too
            return torch.tensor(numbers, dtype=torch.float32, device=device)

    def _mean(self, arch: SoftArch) -> Tensor:
        keeps = arch.keeps()
        if keeps and arch in self._means:
            return self._means[arch]
        mean = torch.cat([arch.expectation(row.names, row) for row in self._rows])
        if keeps and not (mean.requires_grad or mean.is_inference()):
            self._means[arch] = mean  # the others serve one pass only
        return mean


def _earlier(choice: Choice, choices: Sequence[Choice]) -> tuple[Choice, ...]:
    """The choices that decide whether one is active, directly or through others, in order."""
    needed = {choice.name}
    for other in reversed(choices):  # conditions name earlier choices only
        if other.name in needed:
            needed.update(name for name, _ in other.when)
    return tuple(other for other in choices if other.name in needed and other is not choice)
