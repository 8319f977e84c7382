"""Convolutional networks of elastic depth, width, kernel and expansion, for images of any size.

Stages of residual blocks (arXiv:1512.03385), or of inverted ones (arXiv:1801.04381), between a stem and a linear head.
Every stage has its own depth and width, every block its own kernel and, on request, its own expansion; all
architectures share one set of weights (Once-for-All, arXiv:1908.09791).

The number of architectures is the product over stages of widths * sum over depths d of (kernels * expansions)^d:

    2.2e4    width = [8, 16]
    7.4e4    the defaults: 3 stages, 3 depths, 3 widths, 2 kernels
    1.6e7    expand = [1, 2], or block = "inverted"
    1.4e9    stages = 4, width = [8, 12, 16, 24, 32], kernel = [3, 5, 7]
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

from torch import Tensor, nn

from nasplat.elastic import (
    Dimension,
    ElasticConv2d,
    ElasticDepth,
    ElasticLinear,
    ElasticSpace,
    Scaled,
    Size,
)
from nasplat.elastic.blocks.convolutional import BasicBlock, ConvNorm, InvertedResidual, Shape, Style
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
    whole,
)
from nasplat.elastic.layers.norms import norms_without_key
from nasplat.errors import NasplatError, expected_one_of
from nasplat.space import Arch, SpaceFactory

Integers: TypeAlias = Sequence[int]
Kind: TypeAlias = Literal["residual", "inverted"]

BLOCKS: dict[Kind, Callable[[Shape, Style], nn.Module]] = {
    "residual": BasicBlock,
    "inverted": InvertedResidual,
}
EXPAND: dict[Kind, tuple[float, ...]] = {"residual": (1.0,), "inverted": (3.0, 6.0)}
"""The usual expansions of each kind of block."""
GROUPED = ("group", "evonorm_s0")
"""Norms that work in groups of channels."""
FIRST = {"block": "residual", "squeeze_excite": False, "norm": "batch", "norm_group": 8}
"""What networks were before these arguments came: they are facts of a space only where they differ."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What can be chosen in one stage, and its stride."""

    width: Options
    blocks: StageOptions
    stride: int

    def describe(self) -> dict[str, Any]:
        """The stage as plain JSON."""
        described = {"number": self.blocks.number, "stride": self.stride, "width": self.width.values}
        return described | {"depth": self.blocks.depths, **self.blocks.blocks}


@dataclass(frozen=True, slots=True)
class Plan:
    """The sizes of a network."""

    channels: int
    stem: int
    stem_stride: int
    stages: tuple[Stage, ...]
    block: Kind
    squeeze_excite: bool
    style: Style
    classes: int


class ElasticConvNet(nn.Module):
    """Stem, stages, mean over the image, linear head. Shapes: x (n, c, h, w) -> (n, classes)."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        stem = Size(plan.stem)
        conv = ElasticConv2d(plan.channels, stem, 3, stride=plan.stem_stride)
        self.stem = ConvNorm(conv, plan.style.norms.activated(stem, nn.ReLU()))
        inputs = [stem, *(stage.width.size for stage in plan.stages)]
        self.stages = nn.ModuleList(
            ElasticDepth(
                [BLOCKS[plan.block](shape, plan.style) for shape in _shapes(plan, stage, width)],
                stage.blocks.depth.size,
            )
            for stage, width in zip(plan.stages, inputs, strict=False)
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.head = ElasticLinear(inputs[-1], plan.classes)

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        x = self.stem(x, arch)
        for stage in self.stages:
            x = stage(x, arch)
        logits: Tensor = self.head(self.flatten(self.pool(x)), arch)
        return logits


def _shapes(plan: Plan, stage: Stage, inputs: Dimension) -> Iterator[Shape]:
    """The sizes of the blocks of a stage: residual ones expand their own width, inverted ones that of their input."""
    outputs = stage.width.size
    for number in range(1, len(stage.blocks) + 1):
        kernel, expand = stage.blocks.block("kernel", number).size, stage.blocks.block("expand", number)
        plain = plan.block == "inverted" and expand.values == (1.0,)
        hidden = inputs if plain else expand.times(inputs if plan.block == "inverted" else outputs)
        squeeze = Scaled(hidden, 0.25, multiple=8) if plan.squeeze_excite else None
        yield Shape(inputs, hidden, outputs, kernel, stage.stride if number == 1 else 1, squeeze)
        inputs = outputs


def elastic_convnet(
    *,
    input_shape: tuple[int, int, int],
    classes: int,
    stages: int = 3,
    depth: Integers | Sequence[Integers] = (1, 2, 3),
    width: Integers | Sequence[Integers] = (8, 12, 16),
    kernel: Integers = (3, 5),
    expand: Sequence[float] | None = None,
    stem: int | None = None,
    stem_stride: int = 1,
    block: Kind = "residual",
    squeeze_excite: bool = False,
    norm: str = "batch",
    norm_group: int | None = None,
) -> ElasticSpace:
    """The space of convolutional networks for images (channels, height, width).

    depth: numbers of blocks of every stage; or one list for each stage.
    width: channels of the first stage, doubled from stage to stage; or one list for each stage.
    kernel: sides of the elastic convolution of every block, odd: its first one, or the depthwise one.
    expand: inner width of every block over the width of its stage (residual, by default 1) or of its input (inverted,
    by default 3 and 6; 1 alone leaves the expansion out).
    stem: channels of the first convolution; by default the smallest width.
    stem_stride: 2 or more for large images.
    block: "residual", two ordinary convolutions; or "inverted", expand, filter each channel, project.
    squeeze_excite: whether inverted blocks weigh their channels by squeeze-and-excitation.
    norm: a name in nasplat.elastic.NORMS but "keyed"; norm_group: the channels in a group of norms with groups,
    by default the largest number up to 8 that divides all widths.

    Each stage but the first halves the image, unless it would fall under 2x2. The choices are named width1, depth1,
    kernel1_2 (stage 1, block 2) and expand1_2; what has one option is no choice.
    """
    for name, number in {"stages": stages, "classes": classes, "stem_stride": stem_stride}.items():
        whole(f"elastic_convnet {name}", [number])
    if block not in BLOCKS:
        raise NasplatError(f"elastic_convnet block = {block!r}: {expected_one_of(block, BLOCKS)}")
    if squeeze_excite and block != "inverted":
        raise NasplatError("elastic_convnet squeeze_excite = true: give block = 'inverted' with it")
    widths = per_stage("elastic_convnet width", width, stages, 2)
    depths = per_stage("elastic_convnet depth", depth, stages)
    each: dict[str, Values] = {
        "kernel": odd("elastic_convnet kernel", kernel),
        "expand": factors("elastic_convnet expand", EXPAND[block] if expand is None else expand),
    }
    side = min(image_shape("elastic_convnet", input_shape)[1:])
    fit_strides("elastic_convnet stem_stride", [stem_stride], [1], side)
    strides = _strides(side, stem_stride, stages)
    parts = [
        Stage(Options(f"width{n}", w), StageOptions(n, d, each), stride)
        for n, (w, d, stride) in enumerate(zip(widths, depths, strides, strict=True), 1)
    ]
    stem = min(widths[0]) if stem is None else whole("elastic_convnet stem", [stem])[0]
    if norm_group is None:
        norm_group = _common_group(block, stem, parts) if norm in GROUPED else 8
    style = Style(norms_without_key("elastic_convnet", norm, norm_group))
    plan = Plan(input_shape[0], stem, stem_stride, tuple(parts), block, squeeze_excite, style, classes)
    later = {"block": block, "squeeze_excite": squeeze_excite, "norm": norm, "norm_group": norm_group}
    return ElasticSpace(
        "elastic_convnet",
        choices_of(part for stage in parts for part in (stage.width, stage.blocks)),
        network=partial(ElasticConvNet, plan),
        input_shape=input_shape,
        constants={"classes": classes, "stem": [stem, stem_stride]}
        | {"stages": [stage.describe() for stage in parts]}
        | {name: value for name, value in later.items() if value != FIRST[name]},
    )


def _common_group(block: Kind, stem: int, stages: Sequence[Stage]) -> int:
    """The largest number up to 8 that divides the widths between blocks and inside them."""
    options = [(stem,), *(stage.width.values for stage in stages)]
    widths, expanded = {int(w) for values in options for w in values}, set[int]()
    for stage, inputs in zip(stages, options, strict=False):
        sizes = {int(w) for w in stage.width.values} | (
            {int(w) for w in inputs} if block == "inverted" else set()
        )
        expanded |= {Scaled(Size(w), float(e))({}) for w in sizes for e in stage.blocks.blocks["expand"]}
    return max(g for g in range(1, 9) if math.gcd(*widths, *expanded) % g == 0)


def _strides(side: int, stem_stride: int, stages: int) -> list[int]:
    """Stride 2 from the second stage on, as long as 2x2 pixels are left."""
    side, strides = math.ceil(side / stem_stride), [1]
    for _ in range(stages - 1):
        strides.append(2 if side > 2 else 1)
        side = math.ceil(side / strides[-1])
    return strides


SPACE: SpaceFactory = elastic_convnet
