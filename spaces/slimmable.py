"""Slimmable networks: one choice of width for a whole network, or one for each stage.

"Slimmable Neural Networks" (arXiv:1812.08928) over MobileNet (arXiv:1704.04861): depthwise separable convolutions whose
channels are the first 25, 50, 75 or 100 % of the full ones, with batch norms of their own for every width (switchable
batch norms), so that nothing need be recalibrated.

The number of architectures is the number of widths, or widths^(1 + stages) with one for each stage and the stem:

    4        the defaults, as published
    4.1e3    per_stage = true

With 1000 classes at 224 x 224 the widths have 0.47, 1.33, 2.59 and 4.23 M parameters, and 41, 149, 325 and 569 M
multiply-adds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TypeAlias

from torch import Tensor, nn

from nasplat.elastic import Dimension, ElasticConv2d, ElasticLinear, ElasticSpace, Key, Norms
from nasplat.elastic.blocks.convolutional import ConvNorm, ElasticSequential, Style, depthwise, pointwise
from nasplat.elastic.blocks.options import Options, choices_of, factors, fit_strides, image_shape, whole
from nasplat.errors import NasplatError
from nasplat.space import Arch, SpaceFactory

Integers: TypeAlias = Sequence[int]

STRIDES = (2, 1, 2, 2, 2, 2)
"""Published strides of the stem and of the first five stages; those of later ones are 2."""


@dataclass(frozen=True, slots=True)
class Width:
    """Channels of one stage, and the norms that they have."""

    channels: Dimension
    style: Style


class Separable(nn.Module):
    """A convolution of each channel by itself, then a 1x1 convolution, each with a norm and an activation.

    Shapes: x (n, i, h, w) -> (n, o, ceil(h / stride), ceil(w / stride)).
    """

    def __init__(self, inputs: Width, outputs: Width, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = depthwise(inputs.channels, 3, inputs.style, stride)
        self.pointwise = pointwise(inputs.channels, outputs.channels, outputs.style)

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        y: Tensor = self.pointwise(self.depthwise(x, arch), arch)
        return y


@dataclass(frozen=True, slots=True)
class Plan:
    """The sizes of a network: widths and strides of stem and stages, and the number of blocks of every stage."""

    channels: int
    widths: tuple[Width, ...]
    strides: tuple[int, ...]
    depths: tuple[int, ...]
    classes: int


class Slimmable(nn.Module):
    """Stem, stages, mean over the image, linear head. Shapes: x (n, c, h, w) -> (n, classes)."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        stem, stride = plan.widths[0], plan.strides[0]
        conv = ElasticConv2d(plan.channels, stem.channels, 3, stride=stride)
        self.stem = ConvNorm(conv, stem.style.norms.activated(stem.channels, stem.style.activation()))
        self.blocks = ElasticSequential(_blocks(plan))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.head = ElasticLinear(plan.widths[-1].channels, plan.classes)

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        x = self.blocks(self.stem(x, arch), arch)
        logits: Tensor = self.head(self.flatten(self.pool(x)), arch)
        return logits


def _blocks(plan: Plan) -> Iterator[Separable]:
    for (inputs, outputs), stride, depth in zip(
        pairwise(plan.widths), plan.strides[1:], plan.depths, strict=True
    ):
        yield Separable(inputs, outputs, stride)
        yield from (Separable(outputs, outputs) for _ in range(depth - 1))


def slimmable(
    *,
    input_shape: tuple[int, int, int],
    classes: int,
    width: Sequence[float] = (0.25, 0.5, 0.75, 1.0),
    per_stage: bool = False,
    stem: int = 32,
    channels: Integers = (64, 128, 256, 512, 1024),
    depth: Integers = (1, 2, 2, 6, 2),
    strides: Integers | None = None,
    norm: str = "keyed",
) -> ElasticSpace:
    """The space of slimmable MobileNets for images (channels, height, width).

    width: multipliers of the channels; every width is a multiple of 8.
    per_stage: whether the stem and every stage choose their own, or one choice is for all.
    stem, channels: channels of the first convolution and of every stage at width 1.
    depth: number of blocks of every stage, which is no choice.
    strides: of the stem and the stages; by default the published 2, 1, 2, 2, 2, 2, of which the first become 1 for
    images with less than 96 pixels a side.
    norm: "keyed" is a batch norm for each width (of its own stage, with per_stage); else a name in
    nasplat.elastic.NORMS.

    The choice is named width, or the choices width0 (the stem), width1 and so on; a single option is no choice.
    """
    if len(depth) != len(channels):
        raise NasplatError(
            f"slimmable depth = {list(depth)}: give one number for each of {len(channels)} stages"
        )
    image_shape("slimmable", input_shape)
    whole("slimmable classes", [classes])
    base = [whole("slimmable channels", [c])[0] for c in (stem, *channels)]
    depths = tuple(whole("slimmable depth", [d])[0] for d in depth)
    published = (STRIDES + (2,) * len(base))[: len(base)]
    steps = fit_strides("slimmable strides", strides, published, min(input_shape[1:]))
    multipliers = factors("slimmable width", width)
    options = [Options(f"width{n}" if per_stage else "width", multipliers) for n in range(len(base))]
    widths = [_width(o, c, norm) for o, c in zip(options, base, strict=True)]
    return ElasticSpace(
        "slimmable",
        choices_of(options if per_stage else options[:1]),
        network=partial(Slimmable, Plan(input_shape[0], tuple(widths), steps, depths, classes)),
        input_shape=input_shape,
        constants={"classes": classes, "width": multipliers, "channels": base, "depth": depths}
        | {"strides": steps, "norm": norm},
    )


def _width(options: Options, channels: int, norm: str) -> Width:
    keyed = norm == "keyed"
    if keyed and options.choices:
        norms = Norms(norm, key=Key.of(options.choices[0]))
    else:
        norms = Norms("batch" if keyed else norm)
    return Width(options.times(channels, multiple=8), Style(norms))


SPACE: SpaceFactory = slimmable
