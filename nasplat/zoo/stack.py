"""Networks of one form as one: their parameters in the rows of a matrix, their forward passes in one call."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

Tensors = dict[str, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """m networks of one form.

    skeleton: a module of the form on the device "meta", which lends its forward pass. shapes: of its parameters, in
    order. rows (m, p): the parameters of each network, end to end. buffers: each (m, *shape), such as the running
    statistics of batch norms, which a forward pass in training mode updates in place.
    """

    skeleton: nn.Module
    shapes: Mapping[str, torch.Size]
    rows: Tensor
    buffers: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(self.rows)

    def first(self, k: int) -> Stack:
        """The first k networks; shares memory."""
        return Stack(self.skeleton, self.shapes, self.rows[:k], {n: b[:k] for n, b in self.buffers.items()})

    def to(self, device: torch.device) -> Stack:
        """The stack on a device."""
        buffers = {name: b.to(device) for name, b in self.buffers.items()}
        return Stack(self.skeleton, self.shapes, self.rows.to(device), buffers)

    def tensors(self, rows: Tensor | None = None) -> Tensors:
        """The parameters by name, each (m, *shape): views of the rows, or of others in their place."""
        parts = torch.split(
            self.rows if rows is None else rows, [math.prod(s) for s in self.shapes.values()], 1
        )
        return {
            name: part.view(len(part), *shape)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }

    def state(self) -> Tensors:
        """Everything that a state dict of such a network holds, each (m, *shape)."""
        return {**self.tensors(), **self.buffers}

    def __call__(self, inputs: Tensor, rows: Tensor | None = None, *, shared: bool = False) -> Tensor:
        """Outputs (m, n, ...) for inputs (m, n, ...), or for inputs (n, ...) that all networks share."""

        def one(parameters: Tensors, buffers: Tensors, x: Tensor) -> Tensor:
            outputs: Tensor = functional_call(self.skeleton, (parameters, buffers), (x,))
            return outputs

        call = vmap(one, in_dims=(0, 0, None if shared else 0))
        outputs: Tensor = call(self.tensors(rows), dict(self.buffers), _channels_last(inputs))
        return outputs


def stack_modules(modules: Sequence[nn.Module]) -> Stack:
    """Modules of equal form as one stack; copies."""
    shapes = {name: p.shape for name, p in modules[0].named_parameters()}
    rows = torch.stack([torch.cat([p.detach().flatten() for p in m.parameters()]) for m in modules])
    named = [dict(module.named_buffers()) for module in modules]
    buffers = {name: torch.stack([b[name] for b in named]) for name in named[0]}
    return Stack(copy.deepcopy(modules[0]).to("meta"), shapes, rows, buffers)


def _channels_last(inputs: Tensor) -> Tensor:
    """Images (n, c, h, w) or (m, n, c, h, w) with the channels of a pixel, of all networks, side by side in memory.

    vmap makes one grouped convolution of all networks' convolutions and keeps this layout from layer to layer. On a
    CPU it takes 1.5 times less for a whole step of a network 8 wide, up to four times less for the convolutions of
    networks 6 or 12 wide (benchmarks/zoo.py).
    """
    if inputs.ndim == 4:
        return inputs.to(memory_format=torch.channels_last)
    if inputs.ndim == 5:
        return inputs.permute(1, 3, 4, 0, 2).contiguous().permute(3, 0, 4, 1, 2)
    return inputs
