"""Residual convolutional networks of elastic depth, width and kernel, for images of any size.

Stages of residual blocks (arXiv:1512.03385) between a stem and a linear head. Every stage has its own depth and width,
every block its own kernel and, on request, its own expansion; all architectures share one set of weights
(Once-for-All, arXiv:1908.09791).

The number of architectures is the product over stages of widths * sum over depths d of (kernels * expansions)^d:

    2.2e4   width = [8, 16]
    7.4e4   the defaults: 3 stages, 3 depths, 3 widths, 2 kernels
    1.6e7   expand = [1, 2]
    1.4e9   stages = 4, width = [8, 12, 16, 24, 32], kernel = [3, 5, 7]
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TypeAlias, TypeVar

from torch import Tensor, nn

from nasplat.elastic import (
    Dimension,
    ElasticBatchNorm2d,
    ElasticConv2d,
    ElasticDepth,
    ElasticLinear,
    ElasticSpace,
    Scaled,
    Size,
)
from nasplat.errors import NasplatError
from nasplat.space import Arch, Choice, SpaceFactory, ordinal

Integers: TypeAlias = Sequence[int]
Number = TypeVar("Number", int, float)


@dataclass(frozen=True, slots=True)
class Stage:
    """The sizes of one stage: output width, number of blocks, and for each block kernel and inner width."""

    width: Dimension
    depth: Dimension
    kernels: tuple[Dimension, ...]
    hidden: tuple[Dimension, ...]
    stride: int


class Block(nn.Module):
    """relu(norm(conv3(relu(norm(conv_k(x))))) + shortcut(x)), the shortcut a 1x1 convolution where shapes change.

    Shapes: x (n, i, h, w) -> (n, o, ceil(h / stride), ceil(w / stride)).
    """

    def __init__(self, inputs: Dimension, stage: Stage, number: int) -> None:
        super().__init__()
        outputs, hidden = stage.width, stage.hidden[number]
        stride = 1 if number else stage.stride
        self.conv1 = ElasticConv2d(inputs, hidden, stage.kernels[number], stride=stride)
        self.norm1 = ElasticBatchNorm2d(hidden)
        self.relu1 = nn.ReLU()
        self.conv2 = ElasticConv2d(hidden, outputs, 3)
        self.norm2 = ElasticBatchNorm2d(outputs)
        self.relu2 = nn.ReLU()
        self.shortcut = None if number else Projection(inputs, outputs, stride)

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        y = self.relu1(self.norm1(self.conv1(x, arch), arch))
        y = self.norm2(self.conv2(y, arch), arch)
        out: Tensor = self.relu2(y + (x if self.shortcut is None else self.shortcut(x, arch)))
        return out


class Projection(nn.Module):
    """The shortcut of a block that changes the shape: 1x1 convolution and norm."""

    def __init__(self, inputs: Dimension, outputs: Dimension, stride: int) -> None:
        super().__init__()
        self.conv = ElasticConv2d(inputs, outputs, 1, stride=stride)
        self.norm = ElasticBatchNorm2d(outputs)

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        out: Tensor = self.norm(self.conv(x, arch), arch)
        return out


class ElasticConvNet(nn.Module):
    """Stem, stages, mean over the image, linear head. Shapes: x (n, c, h, w) -> (n, classes)."""

    def __init__(
        self, channels: int, stem: int, stem_stride: int, stages: Sequence[Stage], classes: int
    ) -> None:
        super().__init__()
        self.stem = ElasticConv2d(channels, stem, 3, stride=stem_stride)
        self.norm = ElasticBatchNorm2d(stem)
        self.relu = nn.ReLU()
        inputs = [Size(stem), *(stage.width for stage in stages)]
        self.stages = nn.ModuleList(map(_blocks, inputs, stages))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.head = ElasticLinear(inputs[-1], classes)

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        x = self.relu(self.norm(self.stem(x, arch), arch))
        for stage in self.stages:
            x = stage(x, arch)
        logits: Tensor = self.head(self.flatten(self.pool(x)), arch)
        return logits


def _blocks(inputs: Dimension, stage: Stage) -> ElasticDepth:
    blocks = [Block(stage.width if n else inputs, stage, n) for n in range(stage.depth.maximum)]
    return ElasticDepth(blocks, stage.depth)


@dataclass(frozen=True, slots=True)
class Options:
    """What can be chosen in one stage (counted from 1), in rising order; a single option is no choice."""

    number: int
    stride: int
    width: Integers
    depth: Integers
    kernel: Integers
    expand: Sequence[float]

    def choices(self) -> Iterator[Choice]:
        """The choices of the stage; those of a block matter when the stage is deep enough."""
        yield ordinal(f"width{self.number}", self.width)
        yield ordinal(f"depth{self.number}", self.depth)
        for block in range(1, max(self.depth) + 1):
            deep = [d for d in self.depth if d >= block]
            when = {f"depth{self.number}": deep} if len(deep) < len(self.depth) else None
            yield ordinal(f"kernel{self.number}_{block}", self.kernel, when)
            yield ordinal(f"expand{self.number}_{block}", self.expand, when)

    def stage(self) -> Stage:
        """The sizes that follow the choices of the same names."""
        blocks = [f"{self.number}_{block}" for block in range(1, max(self.depth) + 1)]
        width, fixed = _size(f"width{self.number}", self.width), len(self.expand) == 1
        return Stage(
            width=width,
            depth=_size(f"depth{self.number}", self.depth),
            kernels=tuple(_size(f"kernel{b}", self.kernel) for b in blocks),
            hidden=tuple(Scaled(width, max(self.expand), None if fixed else f"expand{b}") for b in blocks),
            stride=self.stride,
        )


def _size(name: str, options: Integers) -> Size:
    return Size(max(options), name if len(options) > 1 else None)


def elastic_convnet(
    *,
    input_shape: tuple[int, int, int],
    classes: int,
    stages: int = 3,
    depth: Integers | Sequence[Integers] = (1, 2, 3),
    width: Integers | Sequence[Integers] = (8, 12, 16),
    kernel: Integers = (3, 5),
    expand: Sequence[float] = (1.0,),
    stem: int | None = None,
    stem_stride: int = 1,
) -> ElasticSpace:
    """The space of residual convolutional networks for images (channels, height, width).

    depth: numbers of blocks of every stage; or one list for each stage.
    width: channels of the first stage, doubled from stage to stage; or one list for each stage.
    kernel: sides of the first convolution of every block, odd.
    expand: inner width of every block over the width of its stage.
    stem: channels of the first convolution; by default the smallest width.
    stem_stride: 2 or more for large images.

    Each stage but the first halves the image, unless it would fall under 2x2. The choices are named width1, depth1,
    kernel1_2 (stage 1, block 2) and expand1_2; what has one option is no choice.
    """
    for name, number in {"stages": stages, "classes": classes, "stem_stride": stem_stride}.items():
        _rising(name, [number])
    widths, depths = _per_stage("width", width, stages, 2), _per_stage("depth", depth, stages)
    kernels, expands = _odd(_rising("kernel", kernel)), _rising("expand", [float(e) for e in expand])
    strides = _strides(min(input_shape[1:]), stem_stride, stages)
    each = zip(range(1, stages + 1), strides, widths, depths, strict=True)
    options = [Options(number, stride, w, d, kernels, expands) for number, stride, w, d in each]
    stem = min(widths[0]) if stem is None else _rising("stem", [stem])[0]
    return ElasticSpace(
        "elastic_convnet",
        [choice for o in options for choice in o.choices() if len(choice.values) > 1],
        network=partial(
            ElasticConvNet, input_shape[0], stem, stem_stride, [o.stage() for o in options], classes
        ),
        input_shape=input_shape,
        constants={"classes": classes, "stem": [stem, stem_stride], "stages": [asdict(o) for o in options]},
    )


def _per_stage(
    name: str, options: Integers | Sequence[Integers], stages: int, growth: int = 1
) -> list[tuple[int, ...]]:
    """The options of each stage: a list for each, or one list that grows from stage to stage."""
    shared = [o for o in options if isinstance(o, int)]
    if len(shared) == len(options):
        return [tuple(o * growth**s for o in _rising(name, shared)) for s in range(stages)]
    lists = [o for o in options if not isinstance(o, int)]
    if len(lists) != stages or shared:
        raise NasplatError(
            f"elastic_convnet {name} = {options}: give one list, or one for each of {stages} stages"
        )
    return [_rising(name, given) for given in lists]


def _rising(name: str, options: Sequence[Number]) -> tuple[Number, ...]:
    if not options or min(options) <= 0:
        raise NasplatError(f"elastic_convnet {name} = {list(options)}: give at least one number, all above 0")
    return tuple(sorted(options))


def _odd(kernels: tuple[int, ...]) -> tuple[int, ...]:
    if any(kernel % 2 == 0 for kernel in kernels):
        raise NasplatError(f"elastic_convnet kernel = {list(kernels)}: give odd numbers")
    return kernels


def _strides(side: int, stem_stride: int, stages: int) -> list[int]:
    """Stride 2 from the second stage on, as long as 2x2 pixels are left."""
    side, strides = math.ceil(side / stem_stride), [1]
    for _ in range(stages - 1):
        strides.append(2 if side > 2 else 1)
        side = math.ceil(side / strides[-1])
    return strides


SPACE: SpaceFactory = elastic_convnet
