"""Pooling layouts: where the down-samplings of a network sit, over a body that stays the same.

The space of "Balanced Mixture of SuperNets for Learning the CNN Pooling Architecture" (arXiv:2306.11982): all strides
of a known network become 1, and a fixed number of down-samplings is placed before any of its blocks but the first.
"4-3-3" has four blocks at full resolution, then three at half, then three at a quarter; for ResNet-20, that is the
published network. Weights fit every layout, so all of them can share one supernet. That costs accuracy, since a block
sees features of different sizes in different layouts: this is what a balanced mixture is for.

The number of architectures is C(blocks - 1, scales - 1) * kinds^(scales - 1):

    36       the defaults: ResNet-20, 10 blocks on 3 scales
    560      body = "resnet50": 17 blocks on 4 scales
    576      ResNet-20 with pools = ["max", "average", "strided", "blur"]
    10       body = [8, 8, 16, 16, 32, 32]: six convolutions on 3 scales, a space to learn with
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TypeAlias

from torch import Tensor, nn

from nasplat.elastic import ElasticLinear, ElasticSpace
from nasplat.elastic.blocks.convolutional import Style
from nasplat.elastic.blocks.options import image_shape, whole
from nasplat.elastic.blocks.pooling import (
    BLOCKS,
    KINDS,
    POOLS,
    Downsampling,
    Layouts,
    block_stride,
    conv_block,
    quarter,
)
from nasplat.elastic.sizes import Size
from nasplat.errors import NasplatError, expected_one_of
from nasplat.space import Arch, SpaceFactory, positions_of

Integers: TypeAlias = Sequence[int]


@dataclass(frozen=True, slots=True)
class Body:
    """What stays: the output width of the first convolution and of every block, and the kind of these blocks.

    runs: blocks on each scale of the network as it was published.
    """

    block: str
    widths: tuple[int, ...]
    runs: tuple[int, ...]

    @property
    def group(self) -> int:
        """The largest number up to 8 that divides all widths: the channels in a group of norms with groups."""
        inner = map(quarter, self.widths[1:] if self.block == "bottleneck" else ())
        common = math.gcd(*self.widths, *inner)
        return max(n for n in range(1, 9) if common % n == 0)


BODIES = {
    "resnet20": Body("basic", (16,) * 4 + (32,) * 3 + (64,) * 3, (4, 3, 3)),
    "resnet18": Body("basic", (64,) * 3 + (128,) * 2 + (256,) * 2 + (512,) * 2, (3, 2, 2, 2)),
    "resnet50": Body("bottleneck", (64,) + (256,) * 3 + (512,) * 4 + (1024,) * 6 + (2048,) * 3, (4, 4, 6, 3)),
    "vgg11": Body("conv", (64, 128) + (256,) * 2 + (512,) * 4, (1, 1, 2, 2, 2)),
    "vgg16": Body("conv", (64,) * 2 + (128,) * 2 + (256,) * 3 + (512,) * 6, (2, 2, 3, 3, 3)),
}
"""ResNets (arXiv:1512.03385) with a first convolution of 3x3 pixels and no pooling after it, as for small images; VGG
(arXiv:1409.1556) with norms, a mean over the image instead of its last pooling, and one linear layer."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The sizes of a network."""

    channels: int
    body: Body
    layouts: Layouts
    stem_stride: int
    norm: str
    classes: int


class PoolingNet(nn.Module):
    """A body with down-samplings between its blocks, mean over the image, linear head.

    Shapes: x (n, c, h, w) -> (n, classes).
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        layouts, widths = plan.layouts, plan.body.widths
        norms = partial(layouts.norms, plan.norm, group=plan.body.group)
        styles = [Style(norms(number)) for number in range(len(widths))]
        stem = conv_block(plan.channels, widths[0], Size(plan.stem_stride), styles[0])
        make = BLOCKS[plan.body.block]
        self.blocks = nn.ModuleList([stem])
        for number in range(1, len(widths)):
            stride = block_stride(layouts, number)
            self.blocks.append(make(widths[number - 1], widths[number], stride, styles[number]))
        self.pools = nn.ModuleList(Downsampling(layouts, number) for number in range(layouts.scales - 1))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.head = ElasticLinear(widths[-1], plan.classes)

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        slots, pools = positions_of(str(arch[POOLS])), iter(self.pools)
        for number, block in enumerate(self.blocks):
            if number - 1 in slots:
                x = next(pools)(x, arch)
            x = block(x, arch)
        logits: Tensor = self.head(self.flatten(self.pool(x)), arch)
        return logits


def pooling(
    *,
    input_shape: tuple[int, int, int],
    classes: int,
    body: str | Integers = "resnet20",
    block: str | None = None,
    scales: int | None = None,
    pools: Sequence[str] = ("max",),
    stem_stride: int = 1,
    norm: str = "batch",
) -> ElasticSpace:
    """The space of pooling layouts for images (channels, height, width).

    body: "resnet20", "resnet18", "resnet50", "vgg11" or "vgg16"; or the widths of a first convolution and its blocks.
    block: what such blocks are, "conv" (3x3, the default), "basic" or "bottleneck"; named bodies have their own.
    scales: one more than down-samplings; by default those of the published network, or as many as a list has runs of
    equal widths.
    pools: what a down-sampling can be, of "max", "average", "strided" (the first 3x3 convolution of the next block
    and its shortcut skip every second pixel) and "blur" (binomial, arXiv:1904.11486); several are a choice for each.
    stem_stride: of the first convolution, for large images; it is part of no layout.
    norm: a name in nasplat.elastic.NORMS. "batch_statistics" is nearest to the published norm, which in addition has
    no weights; "keyed" has norms of their own for every scale at which a block can be. Networks for use want "batch",
    which is recalibrated for each layout.

    The choices are named pools, with values such as "4-3-3", and where there are several kinds pool1, pool2, ...
    """
    image_shape("pooling", input_shape)
    whole("pooling stem_stride", [stem_stride])
    chosen = _body(body, block)
    layouts = Layouts(len(chosen.widths), _scales(chosen, scales), _kinds(pools))
    _check_sides(input_shape, stem_stride, layouts.scales)
    layouts.norms(norm, 0)  # tells an unknown name before a network is made
    plan = Plan(
        channels=input_shape[0],
        body=chosen,
        layouts=layouts,
        stem_stride=stem_stride,
        norm=norm,
        classes=whole("pooling classes", [classes])[0],
    )
    return ElasticSpace(
        "pooling",
        layouts.choices,
        network=partial(PoolingNet, plan),
        input_shape=input_shape,
        constants={"classes": classes, "block": chosen.block, "widths": chosen.widths, "kinds": layouts.kinds}
        | {"stem_stride": stem_stride, "norm": norm},
        default={POOLS: "-".join(map(str, chosen.runs))},
    )


def _body(body: str | Integers, block: str | None) -> Body:
    if isinstance(body, str):
        if body not in BODIES:
            known = expected_one_of(body, BODIES)
            raise NasplatError(f"pooling body = {body!r}: {known}, or give a list of widths")
        if block is not None:
            raise NasplatError(f"pooling block = {block!r}: {body} has blocks of its own; leave it out")
        return BODIES[body]
    kind = "conv" if block is None else block
    if kind not in BLOCKS:
        raise NasplatError(f"pooling block = {block!r}: {expected_one_of(kind, BLOCKS)}")
    whole("pooling body", body)
    return Body(kind, tuple(body), tuple(len(list(run)) for _, run in groupby(body)))


def _scales(body: Body, scales: int | None) -> int:
    blocks = len(body.widths)
    given = len(body.runs) if scales is None else scales
    if type(given) is not int or not 2 <= given <= blocks:
        raise NasplatError(
            f"pooling scales = {given}: a body of {blocks} blocks takes 2 to {blocks}, each with a block at least"
        )
    return given


def _kinds(pools: Sequence[str]) -> tuple[str, ...]:
    if isinstance(pools, str) or not pools or len(set(pools)) < len(pools):
        raise NasplatError(
            f"pooling pools = {pools!r}: give a list of different kinds, of {', '.join(KINDS)}"
        )
    for kind in pools:
        if kind not in KINDS:
            raise NasplatError(f"pooling pools has {kind!r}: {expected_one_of(kind, KINDS)}")
    return tuple(pools)


def _check_sides(input_shape: tuple[int, int, int], stem_stride: int, scales: int) -> None:
    """NasplatError where the last down-sampling would have nothing to halve."""
    side = min(-(-pixels // stem_stride) for pixels in input_shape[1:])
    most = (side - 1).bit_length() + 1
    if scales > most:
        raise NasplatError(
            f"pooling scales = {scales}: {scales - 1} down-samplings take a side of {side} pixels below 1x1; "
            f"give at most {most} scales, or larger images"
        )


SPACE: SpaceFactory = pooling
