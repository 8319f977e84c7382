"""Elastic layers: each asks its weight source for the weights of an architecture, and calls the plain operation.

The architecture is an argument, never hidden state. `plain(arch)` gives the same layer of one architecture as a
torch.nn module with copied weights; it works on the `meta` device too. How weights are shared is the source's
affair: every layer takes `source`, a factory that gets the layer's `Slot`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, TypeVar, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.elastic.sizes import Dimension, Quotient, assignments, check_size, dimension
from nasplat.elastic.soft import AnyArch, SoftArch, mask_channels
from nasplat.elastic.sources import Slot, SourceFactory, WeightSource, sliced
from nasplat.errors import InvalidArchitecture, NasplatError
from nasplat.space import Arch, Choice

Layer = TypeVar("Layer", bound=nn.Module)
KEEPS_ZERO = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.PReLU,
    nn.GELU,
    nn.SiLU,
    nn.Hardswish,
    nn.Mish,
    nn.ELU,
    nn.Tanh,
)
"""Activations that are zero at zero: a channel that is masked before them stays masked."""


@runtime_checkable
class Elastic(Protocol):
    """A layer that has a plain form in every architecture: a leaf of extraction."""

    def plain(self, arch: Arch) -> nn.Module:
        """The torch.nn layer of one architecture, with copies of its weights.

        Where torch.nn has none: a small module that torch.fx can trace and that can `reset_parameters()`.
        """
        ...


@runtime_checkable
class Restricted(Protocol):
    """A layer that cannot take every size."""

    def check(self, choices: Sequence[Choice]) -> None:
        """Raise NasplatError when some values of the space's choices give a size that the layer cannot take."""
        ...


class ElasticConv2d(nn.Module):
    """A convolution with elastic channels and kernel; the padding, by default k // 2, keeps odd kernels aligned.

    With the default source a narrower layer is the leading block of a wider one and a smaller kernel the centre
    of a larger one (Once-for-All, arXiv:1908.09791). Depthwise: `groups` is the width itself.
    Shapes: x (n, i, h, w) -> (n, o, ceil(h / stride), ceil(w / stride)).
    """

    def __init__(
        self,
        inputs: int | Dimension,
        outputs: int | Dimension,
        kernel: int | Dimension,
        *,
        stride: int = 1,
        groups: int | Dimension = 1,
        padding: int | None = None,
        bias: bool = False,
        source: SourceFactory = sliced,
    ) -> None:
        super().__init__()
        self.stride, self.groups, self.padding = stride, dimension(groups), padding
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
        y = F.conv2d(x, weight, bias, self.stride, self._padding(weight.shape[-1]), groups=groups)
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
        groups, padding = self.groups(arch), self._padding(kernel)
        layer = nn.Conv2d(
            columns * groups, outputs, kernel, self.stride, padding, groups=groups, bias=False, device="meta"
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


class ElasticDepth(nn.ModuleList):
    """A list of elastic blocks, called as block(x, arch), of which the first d run.

    A block that may be left out must keep the shape of its input. Under a soft architecture all run, and block i
    gives P f_i(x) + (1 - P) x with P the probability that the depth is above i.
    """

    def __init__(self, blocks: Iterable[nn.Module], depth: int | Dimension) -> None:
        super().__init__(blocks)
        self.depth = dimension(depth)

    def forward(self, x: Tensor, arch: AnyArch) -> Tensor:
        if isinstance(arch, SoftArch):
            return self._soft(x, arch)
        for block in list(self)[: self.depth(arch)]:
            x = block(x, arch)
        return x

    def check(self, choices: Sequence[Choice]) -> None:
        """NasplatError when the depth can be above the number of blocks, or its choice is unknown."""
        check_size(self.depth, choices, least=0)
        if self.depth.maximum > len(self):
            raise NasplatError(
                f"a depth of up to {self.depth.maximum} over {len(self)} blocks: give as many blocks"
            )

    def _soft(self, x: Tensor, arch: SoftArch) -> Tensor:
        always = arch.possible(self.depth)[0]
        for i, p in enumerate(arch.mask(self.depth).unbind()):
            y = self[i](x, arch)
            x = y if i < always else p * y + (1 - p) * x  # exact for p of 0 and 1
        return x


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


def affine_slot(channels: Dimension) -> Slot:
    return Slot({"weight": (channels,), "bias": (channels,)}, start_as_identity)


def start_as_identity(tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        nn.init.constant_(tensor, 0.0 if name == "bias" else 1.0)


def masked_affine(source: WeightSource, channels: Dimension, arch: AnyArch) -> tuple[Tensor, Tensor]:
    """Weight and bias of a norm; zero for masked channels under `Masks`, so that the norm masks what it puts out."""
    tensors = source.tensors(arch)
    weight, bias = (mask_channels(tensors[name], channels, arch, axis=0) for name in ("weight", "bias"))
    return weight, bias


def activate(activation: nn.Module, x: Tensor, channels: Dimension, arch: AnyArch) -> Tensor:
    """The activation of x (n, c, h, w), masked anew where it is not known to keep a channel of zeros zero."""
    y: Tensor = activation(x)
    return y if isinstance(activation, KEEPS_ZERO) else mask_channels(y, channels, arch)


def fill(layer: Layer, **weights: Tensor | None) -> Layer:
    """The layer, made without storage, with packed copies of its weights."""
    for name, tensor in weights.items():
        if tensor is not None:
            copy = tensor.detach().clone(memory_format=torch.contiguous_format)
            setattr(layer, name, nn.Parameter(copy))
    return layer
