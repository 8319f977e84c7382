"""Once-for-All ResNet-50: elastic depth, widths and expansions of a bottleneck ResNet.

The ResNet space of Once-for-All (arXiv:1908.09791, and its published code) over ResNet-50-D (arXiv:1812.01187): a
stem of three 3x3 convolutions, of which the middle one may be left out, and four stages of bottleneck blocks. Every
stage has its own depth and width, every block its own inner width.

The number of architectures is widths^6 * stem depths * product over stages of the sum over depths d of expansions^d:

    2.5e12   the defaults, as published: 3^6 * 2 * (3^2 + 3^3 + 3^4)^3 * (3^4 + 3^5 + 3^6)
    8.3e4    width = [0.8, 1.0], depth = [1, 2], expand = [0.25, 0.35], stem_depth = [0], channels = 16

With depths 3, 4, 6, 3, width 1 and expansion 0.25 it is ResNet-50-D: 25.58 M parameters with 1000 classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from typing import TypeAlias

from torch import Tensor, nn

from nasplat.elastic import Dimension, ElasticConv2d, ElasticDepth, ElasticLinear, ElasticSpace, Scaled
from nasplat.elastic.blocks.convolutional import Bottleneck, ConvNorm, Shape, Style
from nasplat.elastic.blocks.options import (
    Options,
    StageOptions,
    choices_of,
    factors,
    fit_strides,
    image_shape,
    per_stage,
    whole,
)
from nasplat.elastic.blocks.resize import ElasticResize
from nasplat.elastic.layers.norms import norms_without_key
from nasplat.errors import NasplatError
from nasplat.space import Arch, SpaceFactory

Integers: TypeAlias = Sequence[int]

WIDTHS = (4, 8, 16, 32)
"""Published widths of the stages over that of the stem."""
RECIPE = {"learning_rate": 0.05}
"""In short trainings on digits 0.1 went worse in all of three seeds, of a small variant."""
STRIDES = (2, 2, 1, 2, 2, 2)
"""Published strides of the first convolution, the pooling after the stem, and the stages."""


@dataclass(frozen=True, slots=True)
class Stem:
    """Width of the first convolutions and of the last, number of residual ones between, strides of first and pool."""

    hidden: Dimension
    outputs: Dimension
    depth: Dimension
    strides: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Stage:
    """The blocks of one stage, of which the first d run."""

    depth: Dimension
    shapes: tuple[Shape, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """The sizes of a network."""

    image: tuple[int, int, int]
    resolution: Dimension
    stem: Stem
    stages: tuple[Stage, ...]
    style: Style
    classes: int


class Residual(nn.Module):
    """x + block(x). Shapes: those of x."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        y: Tensor = x + self.block(x, arch)
        return y


class ElasticStem(nn.Module):
    """Three 3x3 convolutions, the second a residual one that may be left out, and max pooling.

    Shapes: x (n, i, h, w) -> (n, o, ceil(h / s), ceil(w / s)), s the product of both strides.
    """

    def __init__(self, inputs: int, stem: Stem, style: Style) -> None:
        super().__init__()
        first, pool = stem.strides
        self.first = _conv3(inputs, stem.hidden, style, stride=first)
        between = range(stem.depth.maximum)
        self.middle = ElasticDepth(
            [Residual(_conv3(stem.hidden, stem.hidden, style)) for _ in between], stem.depth
        )
        self.last = _conv3(stem.hidden, stem.outputs, style)
        self.pool = nn.MaxPool2d(3, pool, padding=1) if pool > 1 else nn.Identity()

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        x = self.middle(self.first(x, arch), arch)
        y: Tensor = self.pool(self.last(x, arch))
        return y


class OFAResNet(nn.Module):
    """Stem, four stages of bottlenecks, mean over the image, linear head. Shapes: x (n, c, h, w) -> (n, classes)."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.resize = ElasticResize(plan.resolution, plan.image[1:])
        self.stem = ElasticStem(plan.image[0], plan.stem, plan.style)
        self.stages = nn.ModuleList(
            ElasticDepth([Bottleneck(shape, plan.style) for shape in stage.shapes], stage.depth)
            for stage in plan.stages
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.head = ElasticLinear(plan.stages[-1].shapes[-1].outputs, plan.classes)

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        x = self.stem(self.resize(x, arch), arch)
        for stage in self.stages:
            x = stage(x, arch)
        logits: Tensor = self.head(self.flatten(self.pool(x)), arch)
        return logits


def _conv3(inputs: int | Dimension, outputs: Dimension, style: Style, stride: int = 1) -> ConvNorm:
    norm = style.norms.activated(outputs, style.activation())
    return ConvNorm(ElasticConv2d(inputs, outputs, 3, stride=stride), norm)


def ofa_resnet(
    *,
    input_shape: tuple[int, int, int],
    classes: int,
    resolution: Integers | None = None,
    depth: Integers | Sequence[Integers] = ((2, 3, 4), (2, 3, 4), (4, 5, 6), (2, 3, 4)),
    stem_depth: Integers = (0, 1),
    width: Sequence[float] = (0.65, 0.8, 1.0),
    expand: Sequence[float] = (0.2, 0.25, 0.35),
    channels: int = 64,
    strides: Integers | None = None,
    norm: str = "batch",
) -> ElasticSpace:
    """The space of Once-for-All bottleneck ResNets for images (channels, height, width).

    resolution: pixels of the shorter side to which the network scales its images; by default those of the input.
    depth: numbers of blocks of every stage; or one list for each of the four stages.
    stem_depth: numbers of residual convolutions inside the stem, of 0 and 1.
    width: multipliers of the widths, one chosen for each stage and two for the stem; every width is a multiple of 8.
    expand: inner width of every block over the width of its stage.
    channels: of the stem at width 1; the stages have 4, 8, 16 and 32 times as many.
    strides: of the first convolution, the pooling and the four stages; by default the published 2, 2, 1, 2, 2, 2, of
    which the first become 1 for images with less than 96 pixels a side.
    norm: a name in nasplat.elastic.NORMS but "keyed".

    The choices are named resolution, depth0, width0_1 and width0_2 (the stem), width1, depth1 and expand1_2 (stage 1,
    block 2); what has one option is no choice.
    """
    image_shape("ofa_resnet", input_shape)
    sides = whole("ofa_resnet resolution", resolution or [min(input_shape[1:])])
    steps = fit_strides("ofa_resnet strides", strides, STRIDES, sides[0])
    multipliers = factors("ofa_resnet width", width)
    each = {"expand": factors("ofa_resnet expand", expand)}
    depths = per_stage("ofa_resnet depth", depth, len(WIDTHS))
    stages = [StageOptions(number, d, each) for number, d in enumerate(depths, 1)]
    widths = {name: Options(f"width{name}", multipliers) for name in ("0_1", "0_2", "1", "2", "3", "4")}
    image, middle = Options("resolution", sides), Options("depth0", _bits(stem_depth))
    sizes = _sizes(whole("ofa_resnet channels", [channels])[0], widths)
    plan = Plan(
        image=input_shape,
        resolution=image.size,
        stem=Stem(sizes[0], sizes[1], middle.size, steps[:2]),
        stages=tuple(_stages(stages, sizes[1:], steps[2:])),
        style=Style(norms_without_key("ofa_resnet", norm)),
        classes=whole("ofa_resnet classes", [classes])[0],
    )
    first = [image, middle, widths["0_1"], widths["0_2"]]
    return ElasticSpace(
        "ofa_resnet",
        choices_of(first) + choices_of(p for stage in stages for p in (widths[str(stage.number)], stage)),
        network=partial(OFAResNet, plan),
        input_shape=input_shape,
        constants={"classes": classes, "channels": channels, "strides": steps, "norm": norm}
        | {"stages": [asdict(stage) for stage in stages], "first": [asdict(options) for options in first]},
        recipe=RECIPE,
    )


def _bits(stem_depth: Integers) -> tuple[int, ...]:
    if not stem_depth or not set(stem_depth) <= {0, 1}:
        raise NasplatError(f"ofa_resnet stem_depth = {list(stem_depth)}: give 0, 1 or both")
    return tuple(sorted(stem_depth))


def _sizes(channels: int, widths: Mapping[str, Options]) -> list[Dimension]:
    """The widths of the first convolutions of the stem, of its last one, and of the stages."""
    inner, *outer = widths.values()
    stem = Scaled(inner.times(channels, multiple=8), 0.5, multiple=8)
    sizes = [w.times(channels * n, multiple=8) for w, n in zip(outer, (1, *WIDTHS), strict=True)]
    return [stem, *sizes]


def _stages(
    options: Sequence[StageOptions], sizes: Sequence[Dimension], strides: Integers
) -> Iterator[Stage]:
    for stage, (inputs, outputs), stride in zip(options, pairwise(sizes), strides, strict=True):
        hidden = [stage.block("expand", n).times(outputs, multiple=8) for n in range(1, len(stage) + 1)]
        ends = [(inputs, stride)] + [(outputs, 1)] * (len(stage) - 1)
        shapes = [Shape(i, h, outputs, stride=s) for h, (i, s) in zip(hidden, ends, strict=True)]
        yield Stage(stage.depth.size, tuple(shapes))


SPACE: SpaceFactory = ofa_resnet
