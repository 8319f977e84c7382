"""Linear layers and convolutions: each asks its weight source for the weights of an architecture.

The architecture is an argument, never hidden state. `plain(arch)` gives the same layer of one architecture as a
torch.nn module with copied weights; it works on the `meta` device too. How weights are shared is the source's
affair: every layer takes `source`, a factory that gets the layer's `Slot`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.elastic.layers.base import fill
from nasplat.elastic.sizes import Dimension, Quotient, assignments, dimension
from nasplat.elastic.weights.soft import AnyArch, SoftArch, mask_channels
from nasplat.elastic.weights.sources import Slot, SourceFactory, sliced
from nasplat.errors import InvalidArchitecture, NasplatError
from nasplat.space import Arch, Choice


class ElasticConv2d(nn.Module):
    """A convolution with elastic channels and kernel; the padding, by default k // 2, keeps odd kernels aligned.

    With the default source a narrower layer is the leading block of a wider one and a smaller kernel the centre
    of a larger one (Once-for-All, arXiv:1908.09791). Depthwise: `groups` is the width itself. The stride may be a
    dimension too: one set of weights for every stride. Shapes: x (n, i, h, w) -> (n, o, ceil(h / s), ceil(w / s)).
    """

    def __init__(
        self,
        inputs: int | Dimension,
        outputs: int | Dimension,
        kernel: int | Dimension,
        *,
        stride: int | Dimension = 1,
        groups: int | Dimension = 1,
        padding: int | None = None,
        bias: bool = False,
        source: SourceFactory = sliced,
    ) -> None:
        super().__init__()
        self.stride, self.groups, self.padding = dimension(stride), dimension(groups), padding
        self.inputs, self.outputs, self.kernel = dimension(inputs), dimension(outputs), dimension(kernel)
        self.columns = self.inputs if groups == 1 else Quotient(self.inputs, self.groups)
        self.source = source(_linear_slot((self.outputs, self.columns, self.kernel, self.kernel), bias))

    def forward(self, x: Tensor, arch: AnyArch) -> Tensor:
        weight, bias = self.source(arch)
        if isinstance(arch, SoftArch):
            groups = self._all_groups(arch)
        else:
            groups = self.groups(arch)
            # A slice is not packed: one copy in the order of the images saves one in each of three convolutions.
            weight = weight.contiguous(memory_format=_memory_format(x))
        y = F.conv2d(x, weight, bias, self.stride(arch), self._padding(weight.shape[-1]), groups=groups)
        return mask_channels(y, self.outputs, arch)

    def _all_groups(self, arch: SoftArch) -> int:
        """The number of groups at full width; InvalidArchitecture where the masked layer is not the sliced one."""
        groups = self.groups.maximum
        sizes = (self.columns, Quotient(self.outputs, self.groups))
        if groups > 1 and not all(map(arch.is_whole, sizes)):
            raise InvalidArchitecture(
                f"a convolution in {groups} groups of elastic size cannot be masked: use execution 'slice'"
            )
        if self.padding is not None and not arch.is_whole(self.kernel):
            raise InvalidArchitecture(
                "an elastic kernel of fixed padding cannot be masked: use execution 'slice'"
            )
        return groups

    def plain(self, arch: Arch) -> nn.Conv2d:
        """The ordinary convolution of one architecture, with copied weights."""
        weight, bias = self.source(arch)
        outputs, columns, kernel, _ = weight.shape
        groups, stride, padding = self.groups(arch), self.stride(arch), self._padding(kernel)
        layer = nn.Conv2d(
            columns * groups, outputs, kernel, stride, padding, groups=groups, bias=False, device="meta"
        )
        return fill(layer, weight=weight, bias=bias)

    def check(self, choices: Sequence[Choice]) -> None:
        """NasplatError for widths that are no multiple of the number of groups, and for kernels without one centre."""
        kernels = {self.kernel(values) for values in assignments(self.kernel.choices, choices)}
        if len({kernel % 2 for kernel in kernels}) > 1:
            raise NasplatError(f"a convolution gets kernels {sorted(kernels)}: choose all odd, or all even")
        if isinstance(self.columns, Quotient) and not set(self.groups.choices) <= set(self.inputs.choices):
            followed = ", ".join(self.groups.choices)
            raise NasplatError(
                f"the groups of a convolution follow {followed}: give a fixed number, or the width itself"
            )
        for width in (self.inputs, self.outputs) if self.groups.maximum > 1 else ():
            names = dict.fromkeys(width.choices + self.groups.choices)
            for values in assignments(tuple(names), choices):
                channels, groups = width(values), self.groups(values)
                if channels % groups:
                    given = f"a convolution of {groups} groups gets {channels} channels"
                    raise NasplatError(f"{given}: choose widths that {groups} divides")

    def _padding(self, kernel: int) -> int:
        return kernel // 2 if self.padding is None else self.padding


class ElasticLinear(nn.Module):
    """A linear layer whose narrower forms are by default the leading block of a wider one (arXiv:1812.08928).

    Shapes: x (..., i), i the input width of the architecture -> (..., o).
    """

    def __init__(
        self,
        inputs: int | Dimension,
        outputs: int | Dimension,
        *,
        bias: bool = True,
        source: SourceFactory = sliced,
    ) -> None:
        super().__init__()
        self.outputs = dimension(outputs)
        self.source = source(_linear_slot((self.outputs, dimension(inputs)), bias))

    def forward(self, x: Tensor, arch: AnyArch) -> Tensor:
        weight, bias = self.source(arch)
        return mask_channels(F.linear(x, weight, bias), self.outputs, arch, axis=-1)

    def plain(self, arch: Arch) -> nn.Linear:
        """The ordinary linear layer of one architecture, with copied weights."""
        weight, bias = self.source(arch)
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
        return fill(layer, weight=weight, bias=bias)


def _memory_format(x: Tensor) -> torch.memory_format:
    if x.is_contiguous() or not x.is_contiguous(memory_format=torch.channels_last):
        return torch.contiguous_format
    return torch.channels_last


def _linear_slot(weight: tuple[Dimension, ...], bias: bool) -> Slot:
    tensors = {"weight": weight} | ({"bias": weight[:1]} if bias else {})
    return Slot(tensors, _start_as_torch)


def _start_as_torch(tensors: Mapping[str, Tensor]) -> None:
    """The initial values of nn.Linear and nn.Conv2d at full width."""
    nn.init.kaiming_uniform_(tensors["weight"], a=math.sqrt(5))
    if "bias" in tensors:
        bound = 1 / math.sqrt(tensors["weight"][0].numel())
        nn.init.uniform_(tensors["bias"], -bound, bound)
