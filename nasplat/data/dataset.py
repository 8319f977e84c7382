"""A data set: three splits, the task they pose, and where they come from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Examples and what is to be learned of them: inputs (n, ...), targets (n, ...)."""

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.inputs)

    def to(self, device: str | torch.device) -> Split:
        """The same split on a device; itself when it is there already."""
        return Split(self.inputs.to(device), self.targets.to(device))


@dataclass(frozen=True, slots=True)
class Task:
    """What a network is trained for and judged by.

    loss: (outputs (n, ...), targets (n, ...)) -> scalar, the mean over the batch, differentiable.
    score: (ALL outputs, ALL targets of a split) -> the metric, in `unit` ("1" for a plain number).
    direction: "maximize" or "minimize", what a better score does.
    """

    metric: str
    direction: str
    unit: str
    loss: Callable[[Tensor, Tensor], Tensor]
    score: Callable[[Tensor, Tensor], float]


def _cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets)


def _accuracy(outputs: Tensor, targets: Tensor) -> float:
    return float((outputs.argmax(1) == targets).double().mean())


CLASSIFICATION = Task("accuracy", "maximize", "1", _cross_entropy, _accuracy)
"""Logits (n, classes, ...) against class numbers (n, ...): cross entropy, share of hits."""


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Three splits for three uses: train fits weights, validation guides a search, test is for the end.

    augment: (inputs (n, ...), generator) -> inputs, applied to training batches only; None for nothing.
    origin: plain JSON that says how to make the data again: name, arguments, sizes, split seed.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    task: Task = CLASSIFICATION
    classes: int | None = None
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None
    origin: Mapping[str, Any] = field(default_factory=dict)
    _hash: list[str] = field(default_factory=list, init=False, repr=False)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example, without the batch."""
        return tuple(self.train.inputs.shape[1:])

    @property
    def identity(self) -> dict[str, Any]:
        """What a result on this data depends on, as JSON: the content, and how it was made and is augmented."""
        return {"hash": self.hash, "task": self.task.metric, "made": dict(self.origin)}

    @property
    def hash(self) -> str:
        """SHA-256 of the shapes, types and values of the three splits, in hexadecimal digits."""
        if not self._hash:
            self._hash.append(_content_hash([self.train, self.validation, self.test]))
        return self._hash[0]


def _content_hash(splits: list[Split]) -> str:
    digest = hashlib.sha256()
    for split in splits:
        for tensor in (split.inputs, split.targets):
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)};".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
