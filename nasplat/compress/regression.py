"""Layers refitted on activations by ridge least squares."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.compress.columns import Reader, Removal, add_constant, holds_constant
from nasplat.compress.tracing import checked_batches

FITTED = (nn.Conv1d, nn.Conv2d, nn.Linear)


def refit(removal: Removal, module: nn.Module, batches: Iterable[Tensor], ridge: float) -> dict[str, str]:
    """Refit the layers that lose channels, in order of running; why some were not.

    Each gives least squares to what the same layer of `module` gives on the same inputs, reading the kept channels as
    they are now, behind the layers refitted before. The ridge holds on to the weights as they were, without which
    directions that the batches do not show would be free.
    """
    teacher = copy.deepcopy(module).eval()
    given = [batch.detach() for batch in checked_batches(teacher, batches)]
    left = {}
    for reader in removal.losing:  # all at first: later layers shall see what the cut network shows
        reader.write(reader.by_channel(reader.layer.weight), removal.stays)
    for reader in removal.losing:
        if type(reader.layer) not in FITTED or getattr(reader.layer, "padding_mode", "zeros") != "zeros":
            left[reader.name] = f"{type(reader.layer).__name__} is not refitted on data, only without"
            continue
        wanted = teacher.get_submodule(reader.name)
        sums = _Sums(reader, removal.stays, holds_constant(removal.view, reader))
        for batch in given:
            with _seen(reader.layer) as own, _seen(wanted) as theirs:
                removal.view.module(batch)
                teacher(batch)
            sums.add(own[0][0], theirs[0][1])
        change, constant = sums.solve(ridge)
        reader.layer.weight.add_(change.to(reader.layer.weight))
        if constant is not None:
            add_constant(removal.view, reader, constant)
    return left


class _Sums:
    """The normal equations of one layer: what is added to its kept columns to meet a residual."""

    def __init__(self, reader: Reader, stays: Tensor, intercept: bool) -> None:
        self.reader, self.intercept = reader, intercept
        kept = stays[reader.numbers]
        by_channel = torch.zeros(1, len(reader.numbers), reader.layer.weight[0].numel() // len(kept))
        by_channel[:, kept] = 1
        shape = (1, *reader.layer.weight.shape[1:])
        places = torch.empty(shape).index_copy(1, reader.order, by_channel.reshape(shape))
        self.kept = places.flatten().bool()
        self.inner: Tensor | float = 0.0
        self.outer: Tensor | float = 0.0

    def add(self, inputs: Tensor, wanted: Tensor) -> None:
        """Count one batch: what the layer reads, and what it should give."""
        layer = self.reader.layer
        residual = _rows(wanted - layer(inputs), layer).double()
        read = _unfolded(inputs, layer)[:, self.kept].double()
        if self.intercept:
            read = torch.cat([read, torch.ones_like(read[:, :1])], 1)
        self.inner, self.outer = self.inner + read.T @ read, self.outer + read.T @ residual

    def solve(self, ridge: float) -> tuple[Tensor, Tensor | None]:
        """What to add to the weight, in its shape, and to the constant."""
        inner, outer = cast(Tensor, self.inner), cast(Tensor, self.outer)
        penalty = torch.full((len(inner),), ridge * float(inner.diagonal().mean()) + 1e-12).to(inner)
        if self.intercept:
            penalty[-1] = 0
        found = torch.linalg.solve(inner + penalty.diag(), outer).T
        columns = found[:, :-1] if self.intercept else found
        flat = found.new_zeros(len(found), len(self.kept))
        flat[:, self.kept.to(flat.device)] = columns
        return flat.reshape(self.reader.layer.weight.shape), found[:, -1] if self.intercept else None


def _unfolded(inputs: Tensor, layer: nn.Module) -> Tensor:
    """What a layer multiplies its weight with: (rows, columns * k)."""
    if isinstance(layer, nn.Linear):
        return inputs.reshape(-1, inputs.shape[-1])
    conv = cast(nn.Conv2d, layer)
    padding = conv._reversed_padding_repeated_twice
    padded = F.pad(inputs, padding)
    if padded.ndim == 3:
        padded = padded[:, :, None]
    two = [(1,) * (2 - len(one)) + tuple(one) for one in (conv.kernel_size, conv.dilation, conv.stride)]
    columns = F.unfold(padded, two[0], dilation=two[1], stride=two[2])
    return columns.transpose(1, 2).reshape(-1, columns.shape[1])


def _rows(outputs: Tensor, layer: nn.Module) -> Tensor:
    """What a layer gives as (rows, o), in the order of `_unfolded`."""
    if isinstance(layer, nn.Linear):
        return outputs.reshape(-1, outputs.shape[-1])
    return outputs.flatten(2).transpose(1, 2).reshape(-1, outputs.shape[1])


@contextmanager
def _seen(layer: nn.Module) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Inputs and outputs of a layer inside the block."""
    seen: list[tuple[Tensor, Tensor]] = []
    note: Callable[..., None] = lambda _, inputs, output: seen.append((inputs[0], output))  # noqa: E731
    handle = layer.register_forward_hook(note)
    try:
        yield seen
    finally:
        handle.remove()
