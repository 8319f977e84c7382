"""Once-for-All MobileNetV3: elastic resolution, depth, kernels and expansions of a network for phones.

The space of "Once-for-All" (arXiv:1908.09791) over MobileNetV3-Large (arXiv:1905.02244): five stages of inverted
residual blocks, each with its own depth, each block with its own kernel and expansion; smaller kernels are learned
transforms of the centre of larger ones.

The number of architectures is resolutions * product over stages of the sum over depths d of (kernels * expansions)^d:

    2.2e19   the defaults, as published: (9^2 + 9^3 + 9^4)^5, at one resolution
    7.8e3    depth = [1, 2], kernel = [3, 5], expand = [4]

With 1000 classes at 224 x 224 the largest network has 7.66 M parameters and 566 M multiply-adds, the smallest
3.41 M and 121 M.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import pairwise
from typing import TypeAlias

from torch import Tensor, nn

from nasplat.elastic import Dimension, ElasticConv2d, ElasticDepth, ElasticLinear, ElasticSpace, Scaled, Size
from nasplat.elastic.blocks.convolutional import ConvNorm, InvertedResidual, Shape, Style, pointwise
from nasplat.elastic.blocks.options import (
    Options,
    StageOptions,
    Values,
    choices_of,
    factors,
    fit_strides,
    image_shape,
    odd,
    per_stage,
    rising,
    share,
    whole,
)
from nasplat.elastic.blocks.resize import ElasticResize
from nasplat.elastic.layers.norms import norms_without_key
from nasplat.elastic.weights.crops import transformed
from nasplat.elastic.weights.sources import sliced
from nasplat.space import Arch, SpaceFactory

Integers: TypeAlias = Sequence[int]


@dataclass(frozen=True, slots=True)
class Published:
    """What no architecture of a stage changes: output width, activation, squeeze-and-excitation."""

    width: int
    activation: Callable[[], nn.Module]
    squeeze: bool


STAGES = (
    Published(24, nn.ReLU, squeeze=False),
    Published(40, nn.ReLU, squeeze=True),
    Published(80, nn.Hardswish, squeeze=False),
    Published(112, nn.Hardswish, squeeze=True),
    Published(160, nn.Hardswish, squeeze=True),
)
STEM, FEATURES, HEAD = 16, 960, 1280
"""Published widths before the stages, after them, and after pooling."""
STRIDES = (2, 2, 2, 2, 1, 2)
"""Published strides of the stem and of the first block of each stage."""


@dataclass(frozen=True, slots=True)
class Stage:
    """The blocks of one stage, of which the first d run, and what they have in common."""

    depth: Dimension
    shapes: tuple[Shape, ...]
    style: Style


@dataclass(frozen=True, slots=True)
class Plan:
    """The sizes of a network; `width` multiplies the published ones."""

    image: tuple[int, int, int]
    resolution: Dimension
    stem_stride: int
    stages: tuple[Stage, ...]
    width: float
    style: Style
    classes: int
    dropout: float


class OFAMobileNet(nn.Module):
    """Stem, a block without expansion, five stages, two 1x1 convolutions around the mean over the image, head.

    Shapes: x (n, c, h, w) -> (n, classes).
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        stem, features, head = (_width(w, plan.width) for w in (STEM, FEATURES, HEAD))
        hard = replace(plan.style, activation=nn.Hardswish)
        self.resize = ElasticResize(plan.resolution, plan.image[1:])
        self.stem = ConvNorm(
            ElasticConv2d(plan.image[0], stem, 3, stride=plan.stem_stride),
            plan.style.norms.activated(stem, nn.Hardswish()),
        )
        self.first = InvertedResidual(Shape(stem, stem, stem), replace(plan.style, kernels=sliced))
        self.stages = nn.ModuleList(map(_blocks, plan.stages))
        self.features = pointwise(plan.stages[-1].shapes[-1].outputs, features, hard)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.widen = ElasticConv2d(features, head, 1)
        self.activation = nn.Hardswish()
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(plan.dropout) if plan.dropout else nn.Identity()
        self.head = ElasticLinear(head, plan.classes)

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        x = self.first(self.stem(self.resize(x, arch), arch), arch)
        for stage in self.stages:
            x = stage(x, arch)
        x = self.pool(self.features(x, arch))
        x = self.dropout(self.flatten(self.activation(self.widen(x, arch))))
        logits: Tensor = self.head(x, arch)
        return logits


def _blocks(stage: Stage) -> ElasticDepth:
    return ElasticDepth([InvertedResidual(shape, stage.style) for shape in stage.shapes], stage.depth)


def _width(published: int, multiplier: float) -> Dimension:
    return Scaled(Size(published), multiplier, multiple=8)


def ofa_mobilenet(
    *,
    input_shape: tuple[int, int, int],
    classes: int,
    resolution: Integers | None = None,
    depth: Integers | Sequence[Integers] = (2, 3, 4),
    kernel: Integers = (3, 5, 7),
    expand: Sequence[float] = (3.0, 4.0, 6.0),
    width: float = 1.0,
    strides: Integers | None = None,
    kernel_transform: bool = True,
    norm: str = "batch",
    dropout: float = 0.0,
) -> ElasticSpace:
    """The space of Once-for-All MobileNetV3 networks for images (channels, height, width).

    resolution: pixels of the shorter side to which the network scales its images; by default those of the input.
    depth: numbers of blocks of every stage; or one list for each of the five stages.
    kernel: sides of the depthwise convolution of every block, odd.
    expand: inner width of every block over the width of its input.
    width: multiplier of all published widths, 1.0 and 1.2 in the paper; every width is a multiple of 8.
    strides: of the stem and the five stages; by default the published 2, 2, 2, 2, 1, 2, of which the first become 1
    for images with less than 96 pixels a side.
    kernel_transform: smaller kernels are learned transforms of the centre of larger ones; without, just the centre.
    norm: a name in nasplat.elastic.NORMS but "keyed". dropout: before the head, in training.

    The choices are named resolution, depth1, kernel1_2 (stage 1, block 2) and expand1_2; what has one option is no
    choice.
    """
    image_shape("ofa_mobilenet", input_shape)
    sides = whole("ofa_mobilenet resolution", resolution or [min(input_shape[1:])])
    steps = fit_strides("ofa_mobilenet strides", strides, STRIDES, sides[0])
    kernels = odd("ofa_mobilenet kernel", kernel)
    each: dict[str, Values] = {
        "kernel": kernels,
        "expand": factors("ofa_mobilenet expand", expand),
    }
    depths = per_stage("ofa_mobilenet depth", depth, len(STAGES))
    options = [StageOptions(number, d, each) for number, d in enumerate(depths, 1)]
    image, width = Options("resolution", sides), rising("ofa_mobilenet width", [float(width)])[0]
    norms = norms_without_key("ofa_mobilenet", norm)
    style = Style(norms, kernels=transformed(kernels) if kernel_transform else sliced)
    plan = Plan(
        image=input_shape,
        resolution=image.size,
        stem_stride=steps[0],
        stages=tuple(_stages(options, steps[1:], width, style)),
        width=width,
        style=style,
        classes=whole("ofa_mobilenet classes", [classes])[0],
        dropout=share("ofa_mobilenet dropout", dropout),
    )
    return ElasticSpace(
        "ofa_mobilenet",
        choices_of([image, *options]),
        network=partial(OFAMobileNet, plan),
        input_shape=input_shape,
        constants={"classes": classes, "resolution": sides, "strides": steps, "width": width}
        | {"stages": [asdict(stage) for stage in options], "kernel_transform": kernel_transform}
        | {"norm": norm, "dropout": dropout},
    )


def _stages(
    options: Sequence[StageOptions], strides: Integers, width: float, style: Style
) -> Iterator[Stage]:
    widths = [_width(w, width) for w in (STEM, *(published.width for published in STAGES))]
    for stage, published, stride, ends in zip(options, STAGES, strides, pairwise(widths), strict=True):
        shapes = tuple(_shapes(stage, published, stride, ends))
        yield Stage(stage.depth.size, shapes, replace(style, activation=published.activation))


def _shapes(
    options: StageOptions, stage: Published, stride: int, ends: tuple[Dimension, Dimension]
) -> Iterator[Shape]:
    """The sizes of the blocks of a stage; ends: the widths of its input and its output."""
    inputs, outputs = ends
    for number in range(1, len(options) + 1):
        expand = options.block("expand", number)
        hidden = inputs if expand.values == (1.0,) else expand.times(inputs, multiple=8)
        squeeze = Scaled(hidden, 0.25, multiple=8) if stage.squeeze else None
        kernel = options.block("kernel", number).size
        yield Shape(inputs, hidden, outputs, kernel, stride if number == 1 else 1, squeeze)
        inputs = outputs


SPACE: SpaceFactory = ofa_mobilenet
