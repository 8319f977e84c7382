"""Weight sources: W(arch) = crop(sum_k c_k(arch) * Theta_k).

A bank holds K atoms Theta_k of a layer's full size, a router gives their coefficients c_k for an architecture,
a crop cuts the part out that the architecture uses. Plain slicing (Once-for-All, arXiv:1908.09791; slimmable
networks, arXiv:1812.08928) is one atom, a constant router and a slice; other sharing schemes are other players
of the three roles. A layer says by a `Slot` what it needs and asks `weight, bias = source(arch)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import torch
from torch import Tensor, nn

from nasplat.elastic.sizes import Dimension, check_size
from nasplat.elastic.weights.soft import AnyArch, SoftArch
from nasplat.space import Choice

Coefficient: TypeAlias = float | Tensor  # a scalar, or a tensor () or (rows,) with one number per output row


@dataclass(frozen=True, slots=True)
class Slot:
    """What a layer needs from its source: the dimensions of each tensor by name, and how an atom starts.

    `initialise` gets the full-size tensors of one atom and fills them in place.
    """

    tensors: Mapping[str, tuple[Dimension, ...]]
    initialise: Callable[[Mapping[str, Tensor]], None]


class Atoms(Protocol):
    """The K full-size tensors of each name of a slot: a layer's own `Bank`, or its part of what several share."""

    @property
    def slot(self) -> Slot:
        """The slot of the layer."""
        ...

    def __len__(self) -> int: ...

    def atoms(self, name: str) -> Sequence[Tensor]:
        """The K full-size tensors of one name."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """What they are made of."""
        ...


class Bank(nn.Module):
    """K atoms of a slot, each its own Parameters: an atom that no loss used has no gradient and stays put.

    (One stacked tensor would give unused atoms zero gradients, and momentum and weight decay move those.)
    """

    def __init__(self, slot: Slot, atoms: int = 1) -> None:
        super().__init__()
        self.slot = slot
        self._keys = {name: [f"{name}_{k}" for k in range(atoms)] for name in slot.tensors}
        for name, dimensions in slot.tensors.items():
            for key in self._keys[name]:
                self.register_parameter(key, nn.Parameter(torch.empty([d.maximum for d in dimensions])))
        self.reset_parameters()

    def __len__(self) -> int:
        return len(next(iter(self._keys.values())))

    def atoms(self, name: str) -> list[Tensor]:
        """The K full-size tensors of one name."""
        return [getattr(self, key) for key in self._keys[name]]

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Every atom starts as the layer's slot says."""
        names = list(self.slot.tensors)
        for atom in zip(*(self.atoms(name) for name in names), strict=True):
            self.slot.initialise(dict(zip(names, atom, strict=True)))


class Router(Protocol):
    """The K coefficients of the atoms for an architecture. A plain 0.0 leaves its atom out of the graph."""

    def __call__(self, arch: AnyArch) -> Sequence[Coefficient]: ...


@dataclass(frozen=True, slots=True)
class Constant:
    """The router that gives every architecture the same coefficients."""

    coefficients: tuple[float, ...] = (1.0,)

    def __call__(self, arch: AnyArch) -> Sequence[Coefficient]:
        return self.coefficients


class Crop(Protocol):
    """The part of a full-size tensor that an architecture uses; the mean of these parts in place for a soft one."""

    def __call__(self, tensor: Tensor, dimensions: Sequence[Dimension], arch: AnyArch) -> Tensor: ...


def slice_crop(tensor: Tensor, dimensions: Sequence[Dimension], arch: AnyArch) -> Tensor:
    """The first rows and columns (dimensions 0 and 1), and a centred window of kernel dimensions: a view.

    tensor (O, I, *K) -> (o, i, *k). Full dimensions cost nothing. Rows go first, which keeps the zero-filled
    gradients of the later slices small. A soft architecture masks the full-size tensor instead.
    """
    if isinstance(arch, SoftArch):
        return arch.crop(tensor, dimensions)
    for axis, dimension in enumerate(dimensions):
        size, maximum = dimension(arch), tensor.shape[axis]
        if size != maximum:
            tensor = tensor.narrow(axis, (maximum - size) // 2 if axis > 1 else 0, size)
    return tensor


def combine(coefficients: Sequence[Coefficient], atoms: Sequence[Tensor]) -> Tensor:
    """sum_k c_k * Theta_k, summed in single precision at least and given in that of the atoms.

    An atom alone with coefficient 1.0 is returned as it is.
    """
    terms = [(c, t) for c, t in zip(coefficients, atoms, strict=True) if isinstance(c, Tensor) or c != 0.0]
    if not terms:
        return torch.zeros_like(atoms[0])
    coefficient, atom = terms[0]
    if len(terms) == 1 and isinstance(coefficient, float) and coefficient == 1.0:
        return atom
    precision = torch.promote_types(atom.dtype, torch.float32)
    scaled = [_scale(c, t.to(precision)) for c, t in terms]
    return sum(scaled[1:], start=scaled[0]).to(atom.dtype)


def _scale(coefficient: Coefficient, atom: Tensor) -> Tensor:
    if isinstance(coefficient, Tensor):
        return coefficient.reshape(-1, *(1 for _ in atom.shape[1:])) * atom
    return atom if coefficient == 1.0 else coefficient * atom


class WeightSource(nn.Module):
    """The weights of one layer in any architecture: bank, router (one atom needs none), crop."""

    def __init__(self, bank: Atoms, router: Router | None = None, crop: Crop = slice_crop) -> None:
        super().__init__()
        self.bank = bank
        self.router = Constant() if router is None else router
        self.crop = crop

    def forward(self, arch: AnyArch) -> tuple[Tensor, Tensor | None]:
        """The weight and the bias (None where the slot has none) of an architecture, differentiable."""
        tensors = self.tensors(arch)
        return tensors["weight"], tensors.get("bias")

    def check(self, choices: Sequence[Choice]) -> None:
        """NasplatError when some values of the space's choices give a size that no atom has."""
        for dimension in {d for tensor in self.bank.slot.tensors.values() for d in tensor}:
            check_size(dimension, choices)

    def tensors(self, arch: AnyArch) -> dict[str, Tensor]:
        """Every tensor of the slot in an architecture, by name."""
        coefficients = self.router(arch)
        return {
            name: self.crop(combine(coefficients, self.bank.atoms(name)), dimensions, arch)
            for name, dimensions in self.bank.slot.tensors.items()
        }


SourceFactory: TypeAlias = Callable[[Slot], WeightSource]


def sliced(slot: Slot) -> WeightSource:
    """The default source of every layer: one atom, sliced."""
    return WeightSource(Bank(slot))
