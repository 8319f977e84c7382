"""Crops that learn: smaller kernels as transforms of larger ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.elastic.sizes import Dimension
from nasplat.elastic.weights.soft import AnyArch, SoftArch
from nasplat.elastic.weights.sources import Bank, Slot, SourceFactory, WeightSource, slice_crop
from nasplat.errors import InvalidArchitecture, NasplatError


class KernelTransform(nn.Module):
    """A slice of rows and columns whose smaller kernels are learned transforms of the larger (arXiv:1908.09791, 3.3).

    From one kernel to the next smaller one, as 7 -> 5 -> 3: the centre window of k x k, as a vector, times a matrix
    (k^2, k^2) that all filters of the layer share. The matrices start as the identity, which is the plain window.
    A soft architecture takes the mean of all kernels, each in the centre of the largest.
    kernels: the sides that occur, in any order.
    """

    def __init__(self, kernels: Sequence[int]) -> None:
        super().__init__()
        self.kernels = tuple(sorted(set(kernels), reverse=True))
        for kernel in self.kernels[1:]:
            self.register_parameter(f"matrix_{kernel}", nn.Parameter(torch.empty(kernel**2, kernel**2)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Every smaller kernel starts as the plain window."""
        for matrix in self.parameters():
            nn.init.eye_(matrix)

    def forward(self, tensor: Tensor, dimensions: Sequence[Dimension], arch: AnyArch) -> Tensor:
        """(O, I, k_max, k_max) -> (o, i, k, k); other tensors are sliced. InvalidArchitecture for an unknown kernel."""
        tensor = slice_crop(tensor, dimensions[:2], arch)
        if len(dimensions) < 3:
            return tensor
        if isinstance(arch, SoftArch):
            return self._expected(tensor, arch.sizes(dimensions[2]))
        return self._shrink(tensor, dimensions[2](arch))

    def _expected(self, weight: Tensor, probabilities: Mapping[int, Tensor]) -> Tensor:
        """The mean of the kernels, each in the centre of the largest."""
        if len(probabilities) == 1:
            return self._shrink(weight, *probabilities)
        margins = {kernel: (weight.shape[-1] - kernel) // 2 for kernel in probabilities}
        kernels = [p * F.pad(self._shrink(weight, k), 4 * [margins[k]]) for k, p in probabilities.items()]
        return sum(kernels[1:], start=kernels[0])

    def _shrink(self, weight: Tensor, kernel: int) -> Tensor:
        if kernel not in self.kernels:
            raise InvalidArchitecture(f"a kernel of {kernel}: expected one of {list(self.kernels)}")
        for size in self.kernels[1 : self.kernels.index(kernel) + 1]:
            margin = (weight.shape[-1] - size) // 2
            window = weight[..., margin : margin + size, margin : margin + size].flatten(2)
            rows = F.linear(window, self.get_parameter(f"matrix_{size}"))
            weight = torch.unflatten(rows, 2, (size, size))
        return weight


def transformed(kernels: Sequence[int]) -> SourceFactory:
    """Sources of convolutions with one atom and kernel transforms among `kernels`, each layer with its own.

    NasplatError for a layer whose largest kernel is another.
    """

    def source(slot: Slot) -> WeightSource:
        sides = {d.maximum for d in slot.tensors["weight"][2:]}
        if sides != {max(kernels)}:
            raise NasplatError(
                f"kernel transforms from {max(kernels)} for a weight with kernels {sorted(sides)}: give its sides"
            )
        return WeightSource(Bank(slot), crop=KernelTransform(kernels))

    return source
