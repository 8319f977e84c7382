"""A plan of masks: which single weights of a network stay; the others are zero."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nasplat.errors import NasplatError

if TYPE_CHECKING:
    from nasplat.prune.sparse.holding import HeldMasks

Packed = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class MaskedTensor:
    """A tensor of a plan: how many of its weights stay; `reason` says why all of them do, where they must."""

    name: str
    shape: tuple[int, ...]
    kept: int
    reason: str = ""

    @property
    def size(self) -> int:
        """Weights of the tensor."""
        return prod(self.shape)

    @property
    def density(self) -> float:
        """The share of weights that stays."""
        return self.kept / self.size


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class MaskPlan:
    """Masks of single weights as data: eight weights a byte, in the order of the tensor's memory.

    asked: plain JSON, what the plan was made from. packed: bits of every tensor that loses weights, by name. Masks
    change no shape: they make no network faster (see `nasplat.prune.sparse.measure_formats`).
    """

    tensors: tuple[MaskedTensor, ...]
    asked: Mapping[str, Any]
    packed: Mapping[str, Packed] = field(default_factory=dict)

    def __repr__(self) -> str:
        return table(self)

    @property
    def size(self) -> int:
        """Weights of all tensors."""
        return sum(tensor.size for tensor in self.tensors)

    @property
    def kept(self) -> int:
        """Weights that stay."""
        return sum(tensor.kept for tensor in self.tensors)

    @property
    def density(self) -> float:
        """The share of weights that stays; 1 minus the sparsity."""
        return self.kept / self.size

    @property
    def densities(self) -> dict[str, float]:
        """The share that stays by tensor."""
        return {tensor.name: tensor.density for tensor in self.tensors}

    def masks(self, module: nn.Module) -> dict[str, Tensor]:
        """True where a weight stays, for every tensor that loses some, in its shape and on its device.

        NasplatError where the module has no such tensors.
        """
        return {name: mask.to(module.get_parameter(name).device) for name, mask in self._checked(module)}

    def apply(self, module: nn.Module) -> nn.Module:
        """A copy of the module whose masked weights are zero; the module stays as it is."""
        masks = self.masks(module)
        smaller = copy.deepcopy(module)
        with torch.no_grad():
            for name, mask in masks.items():
                smaller.get_parameter(name).masked_fill_(~mask, 0)
        return smaller

    def hold(self, module: nn.Module) -> HeldMasks:
        """Zero the masked weights in place and keep them so until the handle's `remove()` or the end of `with`.

        See `nasplat.prune.sparse.holding`.
        """
        from nasplat.prune.sparse.holding import hold_masks

        return hold_masks(module, self.masks(module))

    def holds(self, module: nn.Module) -> bool:
        """Whether all masked weights of the module are zero."""
        masks = self.masks(module).items()
        return all(not module.get_parameter(name).detach()[~mask].any() for name, mask in masks)

    def save(self, path: str | Path) -> str:
        """Write one safetensors file, whole or not at all: the bits, and the rest as JSON; its content hash."""
        from nasplat.prune.sparse.saving import save_mask_plan

        return save_mask_plan(self, Path(path))

    def _checked(self, module: nn.Module) -> list[tuple[str, Tensor]]:
        shapes = {name: tuple(p.shape) for name, p in module.named_parameters(remove_duplicate=False)}
        for tensor in self.tensors:
            if shapes.get(tensor.name) != tensor.shape:
                found = shapes.get(tensor.name, "absent")
                raise NasplatError(
                    f"the plan masks {tensor.name} {tensor.shape}, but here it is {found}: use the plan's network"
                )
        return [
            (t.name, unpacked(self.packed[t.name], t.shape)) for t in self.tensors if t.name in self.packed
        ]


def packed(mask: NDArray[np.bool_]) -> Packed:
    """A mask as bits, eight a byte; the last byte is filled with zeros."""
    return np.packbits(mask.ravel())


def unpacked(bits: Packed, shape: tuple[int, ...]) -> Tensor:
    """The mask of a shape from its bits."""
    return torch.from_numpy(np.unpackbits(bits, count=prod(shape)).astype(bool).reshape(shape))


def table(plan: MaskPlan) -> str:
    """A line for the whole, one for every tensor."""
    how = ", ".join(f"{key} {value}" for key, value in plan.asked.items() if value not in (None, [], {}))
    rows = [
        (t.name, "x".join(map(str, t.shape)), f"{t.kept:,}", f"{t.density:.1%}", _remark(t))
        for t in plan.tensors
    ]
    rows = [("tensor", "shape", "kept", "density", ""), *rows]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    aligned = ("<", "<", ">", ">", "<")
    lines = [
        "  ".join(f"{cell:{a}{w}}" for cell, a, w in zip(row, aligned, widths, strict=True)).rstrip()
        for row in rows
    ]
    head = f"{plan.kept:,} of {plan.size:,} weights stay ({plan.density:.1%}) in {len(plan.tensors)} tensors"
    return "\n".join([f"{head}; {how}" if how else head, *lines])


def _remark(tensor: MaskedTensor) -> str:
    return tensor.reason or ("nothing stays: no signal passes" if not tensor.kept else "")
