"""Down-samplings whose places and kinds are chosen, and blocks that carry the same weights at every scale.

A pooling layout (arXiv:2306.11982) says before which blocks of a network its images are halved. The blocks themselves
never change: those that come before a down-sampling merely look at more pixels. All kinds of down-sampling halve
alike, h x w to ceil(h / 2) x ceil(w / 2), so that a kind can be exchanged without another shape anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from nasplat.elastic.blocks.convolutional import ConvNorm, ElasticSequential, Style
from nasplat.elastic.layers.base import activate
from nasplat.elastic.layers.linear import ElasticConv2d
from nasplat.elastic.layers.norms import Norms
from nasplat.elastic.sizes import Dimension, Size
from nasplat.elastic.weights.routers import Key
from nasplat.elastic.weights.soft import AnyArch
from nasplat.space import Arch, Choice, Value, categorical, positions, positions_of

POOLS = "pools"
STRIDED = "strided"


def blur_pool() -> nn.Module:
    """Every second pixel after the binomial filter [1, 2, 1] / 4 along both axes (arXiv:1904.11486, BlurPool).

    The filter is two means over two neighbours; beyond the border the last pixel is repeated, not mirrored as in the
    published code, which takes an image of a single row too.
    """
    return nn.Sequential(nn.ReplicationPad2d(1), nn.AvgPool2d(2, 1), nn.AvgPool2d(2))


KINDS: dict[str, Callable[[], nn.Module]] = {
    "max": partial(nn.MaxPool2d, 2, ceil_mode=True),
    "average": partial(nn.AvgPool2d, 2, ceil_mode=True),
    "blur": blur_pool,
    STRIDED: nn.Identity,  # the first spatial convolution of the next block, and its shortcut, have the stride
}
"""The kinds of down-sampling, by name. At an odd border the first two take the pixels that are there."""


@dataclass(frozen=True, slots=True)
class Layouts:
    """All pooling layouts of a network of so many blocks on so many scales, with the kinds of its down-samplings.

    Blocks and down-samplings count from 0. The choices: "pools", with values such as "4-3-3" (four blocks on the
    first scale, then three, then three), and where there are several kinds "pool1", "pool2", ... for each
    down-sampling in order.
    """

    blocks: int
    scales: int
    kinds: tuple[str, ...]

    @property
    def choices(self) -> list[Choice]:
        """Where, then of which kinds."""
        where = positions(POOLS, self.blocks - 1, self.scales - 1)
        return [where, *(categorical(name, self.kinds) for name in self.kind_names)]

    @property
    def kind_names(self) -> list[str]:
        """The names of the choices of kinds; none where there is one kind."""
        return [f"pool{n}" for n in range(1, self.scales)] if len(self.kinds) > 1 else []

    def before(self, block: int, arch: Mapping[str, Value]) -> int | None:
        """The number of the down-sampling directly before a block; None where there is none."""
        slots = positions_of(str(arch[POOLS]))
        return slots.index(block - 1) if block - 1 in slots else None

    def kind(self, number: int, arch: Mapping[str, Value]) -> str:
        """The kind of a down-sampling."""
        return str(arch[self.kind_names[number]]) if self.kind_names else self.kinds[0]

    def norms(self, name: str, block: int, group: int = 8) -> Norms:
        """The norms of a block; keyed ones are keyed by the scales on which the block can be."""
        least = max(0, self.scales - self.blocks + block)
        most = min(block, self.scales - 1)
        if name != "keyed":
            return Norms(name, group=group)
        if least == most:
            return Norms("batch")
        return Norms(name, key=Key((POOLS,), most - least + 1, partial(_scale, block, least)))


def _scale(block: int, least: int, arch: Mapping[str, Value]) -> int:
    """How many down-samplings come before a block, beyond those that always do."""
    return sum(slot < block for slot in positions_of(str(arch[POOLS]))) - least


@dataclass(frozen=True, slots=True)
class PooledStride:
    """A dimension: 2 where a strided down-sampling comes directly before a block, else 1."""

    layouts: Layouts
    block: int

    @property
    def maximum(self) -> int:
        return 2

    @property
    def choices(self) -> tuple[str, ...]:
        return (POOLS, *self.layouts.kind_names)

    def __call__(self, arch: Mapping[str, Value]) -> int:
        number = self.layouts.before(self.block, arch)
        return 2 if number is not None and self.layouts.kind(number, arch) == STRIDED else 1


def block_stride(layouts: Layouts, block: int) -> Dimension:
    """The stride of a block's first spatial convolution, which is 1 where nothing strided can come before it."""
    return PooledStride(layouts, block) if STRIDED in layouts.kinds and block else Size(1)


class Downsampling(nn.ModuleDict):
    """The down-sampling of one number, of the kind that an architecture says.

    Shapes: x (n, c, h, w) -> (n, c, ceil(h / 2), ceil(w / 2)); a strided one leaves x to the next block.
    """

    def __init__(self, layouts: Layouts, number: int) -> None:
        super().__init__({kind: KINDS[kind]() for kind in layouts.kinds if kind != STRIDED})
        self.layouts, self.number = layouts, number

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        kind = self.layouts.kind(self.number, arch)
        y: Tensor = x if kind == STRIDED else self[kind](x)
        return y


class Subsample(nn.Module):
    """Every second pixel where the stride is 2: the identity at another scale."""

    def __init__(self, stride: Dimension) -> None:
        super().__init__()
        self.stride, self.skip = stride, nn.MaxPool2d(1, 2)

    def forward(self, x: Tensor, arch: AnyArch) -> Tensor:
        y: Tensor = self.skip(x) if self.stride(arch) > 1 else x
        return y


class ShortcutBlock(nn.Module):
    """activation(branch(x) + shortcut(x)), whose shortcut follows the stride of the branch.

    It is a 1x1 convolution with a norm where the width changes (arXiv:1512.03385, option B) and else the identity,
    subsampled where the stride is 2, as in the published code of arXiv:2306.11982. So the weights do not depend on
    where down-samplings are. Shapes: x (n, i, h, w) -> (n, o, ceil(h / stride), ceil(w / stride)).
    """

    def __init__(self, branch: list[ConvNorm], stride: Dimension, style: Style) -> None:
        super().__init__()
        inputs, self.outputs = branch[0].conv.inputs, branch[-1].conv.outputs
        self.branch = ElasticSequential(branch)
        self.shortcut: nn.Module = Subsample(stride)
        if inputs != self.outputs:
            norm = style.norms.norm(self.outputs)
            self.shortcut = ConvNorm(ElasticConv2d(inputs, self.outputs, 1, stride=stride), norm)
        self.activation = style.activation()

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        y = self.branch(x, arch) + self.shortcut(x, arch)
        return activate(self.activation, y, self.outputs, arch)


def conv_block(inputs: int, outputs: int, stride: Dimension, style: Style) -> ConvNorm:
    """A 3x3 convolution, its norm and activation."""
    return _activated(ElasticConv2d(inputs, outputs, 3, stride=stride), style)


def basic_block(inputs: int, outputs: int, stride: Dimension, style: Style) -> ShortcutBlock:
    """The block of ResNet-18 and -20 (arXiv:1512.03385), the stride on its first convolution."""
    last = ConvNorm(ElasticConv2d(outputs, outputs, 3), style.norms.norm(outputs))
    return ShortcutBlock([conv_block(inputs, outputs, stride, style), last], stride, style)


def bottleneck(inputs: int, outputs: int, stride: Dimension, style: Style) -> ShortcutBlock:
    """The block of ResNet-50 (arXiv:1512.03385), a quarter as wide inside, the stride on its 3x3 convolution."""
    hidden = quarter(outputs)
    narrow = _activated(ElasticConv2d(inputs, hidden, 1), style)
    widen = ConvNorm(ElasticConv2d(hidden, outputs, 1), style.norms.norm(outputs))
    return ShortcutBlock([narrow, conv_block(hidden, hidden, stride, style), widen], stride, style)


def quarter(width: int) -> int:
    """The width inside a bottleneck."""
    return max(1, width // 4)


def _activated(conv: ElasticConv2d, style: Style) -> ConvNorm:
    return ConvNorm(conv, style.norms.activated(conv.outputs, style.activation()))


BLOCKS: dict[str, Callable[[int, int, Dimension, Style], nn.Module]] = {
    "conv": conv_block,
    "basic": basic_block,
    "bottleneck": bottleneck,
}
"""The kinds of blocks: made of input width, output width, stride and style, and called as block(x, arch)."""
