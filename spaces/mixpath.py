"""MixPath: blocks in which any subset of several kernels is active and summed.

The space S1 of "MixPath: A Unified Approach for One-shot Neural Architecture Search" (arXiv:2001.05887, and its
published code) for small images: twelve inverted residual blocks, each with one of several expansions and any
non-empty subset of depthwise convolutions of side 3, 5, 7 and 9. What enters the last norm of a block depends on how
many paths are summed, so there is one such norm for each number of paths, a shadow batch norm.

The number of architectures is the product over stages of the sum over depths d of (expansions * (2^kernels - 1))^d:

    5.3e17   the defaults, as published: (2 * 15)^12
    3.4e2    depth = [1], width = [16, 32, 64], kernel = [3, 5, 7], expand = [4]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from typing import TypeAlias

from torch import Tensor, nn

from nasplat.elastic import Dimension, ElasticConv2d, ElasticDepth, ElasticLinear, ElasticSpace, Norms, Size
from nasplat.elastic.blocks.convolutional import ConvNorm, Style, depthwise, pointwise
from nasplat.elastic.blocks.options import (
    Options,
    StageOptions,
    Values,
    choices_of,
    fit_strides,
    image_shape,
    odd,
    per_stage,
    share,
    whole,
)
from nasplat.elastic.blocks.paths import ElasticPaths, count_key
from nasplat.space import Arch, Choice, SpaceFactory, subset

Integers: TypeAlias = Sequence[int]

STRIDES = (1, 1, 2, 2)
"""Published strides of the stem and of the first three stages, for images of 32 x 32; those of later ones are 1."""


@dataclass(frozen=True, slots=True)
class MixShape:
    """The sizes of a block, and the options of its expansion and its paths."""

    inputs: int
    outputs: int
    stride: int
    kernels: tuple[int, ...]
    expand: Options
    paths: Options


@dataclass(frozen=True, slots=True)
class Plan:
    """The sizes of a network."""

    channels: int
    stem: int
    stem_stride: int
    stages: tuple[tuple[Dimension, tuple[MixShape, ...]], ...]
    head: int
    style: Style
    shadow: bool
    classes: int
    dropout: float


class Mixed(nn.Module):
    """Expand by 1x1, the sum of depthwise convolutions with a norm and an activation each, project by 1x1.

    Shapes: x (n, i, h, w) -> (n, o, ceil(h / stride), ceil(w / stride)).
    """

    def __init__(self, shape: MixShape, expand: int, style: Style, shadow: bool) -> None:
        super().__init__()
        hidden = Size(shape.inputs * expand)
        paths = {str(k): depthwise(hidden, k, style, shape.stride) for k in shape.kernels}
        self.expand = pointwise(Size(shape.inputs), hidden, style)
        self.paths = ElasticPaths(paths, shape.paths.choice)
        last = style.norms
        if shadow and shape.paths.choice:
            last = Norms("keyed", key=count_key(shape.paths.choice, len(paths)))
        self.project = ConvNorm(ElasticConv2d(hidden, shape.outputs, 1), last.norm(shape.outputs))

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        y: Tensor = self.project(self.paths(self.expand(x, arch), arch), arch)
        return y


class MixBlock(nn.Module):
    """Paths with weights of their own for each expansion, of which one is active, plus x where the shape stays."""

    def __init__(self, shape: MixShape, style: Style, shadow: bool) -> None:
        super().__init__()
        self.residual = shape.stride == 1 and shape.inputs == shape.outputs
        mixed = {str(e): Mixed(shape, int(e), style, shadow) for e in shape.expand.values}
        self.mixed = ElasticPaths(mixed, shape.expand.choice)

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        y: Tensor = self.mixed(x, arch)
        return x + y if self.residual else y


class MixPath(nn.Module):
    """Stem, stages, a 1x1 convolution, mean over the image, linear head. Shapes: x (n, c, h, w) -> (n, classes)."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        style, last = plan.style, Size(plan.stages[-1][1][-1].outputs)
        conv = ElasticConv2d(plan.channels, plan.stem, 3, stride=plan.stem_stride)
        self.stem = ConvNorm(conv, style.norms.activated(plan.stem, nn.ReLU6()))
        self.stages = nn.ModuleList(
            ElasticDepth([MixBlock(shape, style, plan.shadow) for shape in shapes], depth)
            for depth, shapes in plan.stages
        )
        self.features = pointwise(last, Size(plan.head), style)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(plan.dropout) if plan.dropout else nn.Identity()
        self.head = ElasticLinear(plan.head, plan.classes)

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        x = self.stem(x, arch)
        for stage in self.stages:
            x = stage(x, arch)
        x = self.flatten(self.pool(self.features(x, arch)))
        logits: Tensor = self.head(self.dropout(x), arch)
        return logits


def mixpath(
    *,
    input_shape: tuple[int, int, int],
    classes: int,
    width: Integers = (48, 96, 192, 256, 320),
    depth: Integers | Sequence[Integers] = ((2,), (3,), (3,), (2,), (2,)),
    kernel: Integers = (3, 5, 7, 9),
    expand: Integers = (3, 6),
    stem: int = 32,
    head: int = 1280,
    strides: Integers | None = None,
    norm: str = "keyed",
    dropout: float = 0.0,
) -> ElasticSpace:
    """The space of MixPath networks for images (channels, height, width).

    width: channels of each stage. depth: numbers of blocks of every stage; or one list for each.
    kernel: sides of the parallel depthwise convolutions of every block, odd, of which any subset is active.
    expand: inner width of a block over the width of its input; each has weights of its own.
    stem, head: channels of the first and of the last convolution.
    strides: of the stem and the stages; by default 1, 1, 2, 2 and then 1, of which the first become 1 for images with
    less than 12 pixels a side. Give larger ones for images much larger than 32 x 32.
    norm: that after each block's projection; "keyed" is a shadow batch norm for each number of active paths, with
    plain batch norms elsewhere; any other name in nasplat.elastic.NORMS holds everywhere ("batch": the control).
    dropout: before the head, in training.

    The choices are named depth1, expand1_2 (stage 1, block 2) and paths1_2, a subset of the kernels with values such as
    "3", "3+7" and "3+5+7+9", in the order of growing networks; what has one option is no choice.
    """
    image_shape("mixpath", input_shape)
    kernels, expands = odd("mixpath kernel", kernel), whole("mixpath expand", expand)
    widths = [whole("mixpath width", [w])[0] for w in (stem, *width)]
    depths = per_stage("mixpath depth", depth, len(width))
    published = (STRIDES + (1,) * len(width))[: len(widths)]
    steps = fit_strides("mixpath strides", strides, published, min(input_shape[1:]))
    paths = tuple(str(value) for value in subset("paths", kernels).values)
    each: dict[str, Values] = {"expand": expands, "paths": paths}
    options = [StageOptions(number, d, each) for number, d in enumerate(depths, 1)]
    plan = Plan(
        channels=input_shape[0],
        stem=stem,
        stem_stride=steps[0],
        stages=tuple(_stages(options, widths, steps[1:], kernels)),
        head=whole("mixpath head", [head])[0],
        style=Style(Norms("batch" if norm == "keyed" else norm), nn.ReLU6),
        shadow=norm == "keyed",
        classes=whole("mixpath classes", [classes])[0],
        dropout=share("mixpath dropout", dropout),
    )
    return ElasticSpace(
        "mixpath",
        list(_choices(options, kernels)),
        network=partial(MixPath, plan),
        input_shape=input_shape,
        constants={"classes": classes, "width": widths, "head": head, "strides": steps}
        | {"norm": norm, "dropout": dropout, "stages": [asdict(stage) for stage in options]},
    )


def _choices(options: Sequence[StageOptions], kernels: Integers) -> Iterator[Choice]:
    """The choices of the stages, in which that of the paths is not one of many but a subset of the kernels."""
    for choice in choices_of(options):
        is_paths = choice.kind == "paths"
        yield subset(choice.name, kernels, when=dict(choice.when)) if is_paths else choice


def _stages(
    options: Sequence[StageOptions], widths: Integers, strides: Integers, kernels: tuple[int, ...]
) -> Iterator[tuple[Dimension, tuple[MixShape, ...]]]:
    for stage, (inputs, outputs), stride in zip(options, pairwise(widths), strides, strict=True):
        ends = [(inputs, stride)] + [(outputs, 1)] * (len(stage) - 1)
        yield (
            stage.depth.size,
            tuple(
                MixShape(i, outputs, s, kernels, stage.block("expand", n), stage.block("paths", n))
                for n, (i, s) in enumerate(ends, 1)
            ),
        )


SPACE: SpaceFactory = mixpath
