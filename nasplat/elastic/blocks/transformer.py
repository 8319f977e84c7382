"""Transformer blocks of elastic heads and feed-forward width, and what a family of transformers lets one choose.

Sequences are (n, tokens, width).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from nasplat.elastic.blocks.options import Options, rising, whole
from nasplat.elastic.layers.attention import ElasticAttention
from nasplat.elastic.layers.group_norms import ElasticLayerNorm
from nasplat.elastic.layers.linear import ElasticLinear
from nasplat.elastic.sizes import Dimension
from nasplat.elastic.weights.soft import AnyArch
from nasplat.elastic.weights.sources import SourceFactory, sliced
from nasplat.errors import NasplatError
from nasplat.space import Choice


class ElasticFeedForward(nn.Module):
    """linear(gelu(linear(x))), with elastic width inside. Shapes: x (n, t, width) -> (n, t, width)."""

    def __init__(
        self, width: int | Dimension, hidden: int | Dimension, *, source: SourceFactory = sliced
    ) -> None:
        super().__init__()
        self.widen = ElasticLinear(width, hidden, source=source)
        self.gelu = nn.GELU()
        self.narrow = ElasticLinear(hidden, width, source=source)

    def forward(self, x: Tensor, arch: AnyArch) -> Tensor:
        y: Tensor = self.narrow(self.gelu(self.widen(x, arch)), arch)
        return y


@dataclass(frozen=True, slots=True)
class BlockSizes:
    """The sizes of a transformer block: of the sequence, of its heads, and inside its feed-forward layers."""

    width: Dimension
    heads: Dimension
    head_dim: int
    hidden: Dimension


class TransformerBlock(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x)): norms first, as in ViT (arXiv:2010.11929).

    Shapes: x (n, t, width) -> (n, t, width).
    """

    def __init__(self, sizes: BlockSizes, *, causal: bool = False, source: SourceFactory = sliced) -> None:
        super().__init__()
        width = sizes.width
        self.norm1 = ElasticLayerNorm(width)
        self.attention = ElasticAttention(width, sizes.heads, sizes.head_dim, causal=causal, source=source)
        self.norm2 = ElasticLayerNorm(width)
        self.feed_forward = ElasticFeedForward(width, sizes.hidden, source=source)

    def forward(self, x: Tensor, arch: AnyArch) -> Tensor:
        x = x + self.attention(self.norm1(x, arch), arch)
        y: Tensor = x + self.feed_forward(self.norm2(x, arch), arch)
        return y


@dataclass(frozen=True, slots=True)
class TransformerOptions:
    """What can be chosen in a transformer, each list in rising order; a single option is no choice.

    lists: "depth", the numbers of blocks; "width", of the sequence; for every block "heads" and, for the units inside
    its feed-forward layers, either their number, "ffn", or their "ratio" to the width. head_dim: the size of a head.
    The choices are depth, width, heads1, ffn1 (of the first block), heads2, ...
    """

    lists: Mapping[str, tuple[int | float, ...]]
    head_dim: int

    @property
    def depth(self) -> Options:
        """The numbers of blocks."""
        return Options("depth", self.lists["depth"])

    @property
    def width(self) -> Options:
        """The widths of the sequence, one for the whole network."""
        return Options("width", self.lists["width"])

    @property
    def choices(self) -> list[Choice]:
        """Depth and width, then block by block, where the network is deep enough, its heads and hidden units."""
        kinds = [kind for kind in self.lists if kind not in ("depth", "width")]
        blocks = [self._of_block(kind, number) for number in self._numbers for kind in kinds]
        return [choice for options in (self.depth, self.width, *blocks) for choice in options.choices]

    @property
    def blocks(self) -> list[BlockSizes]:
        """The sizes of every block of the deepest network."""
        width, heads = self.width.size, [self._of_block("heads", n).size for n in self._numbers]
        hidden = [self._hidden(n, width) for n in self._numbers]
        return [BlockSizes(width, h, self.head_dim, inner) for h, inner in zip(heads, hidden, strict=True)]

    @property
    def _numbers(self) -> range:
        return range(1, int(self.lists["depth"][-1]) + 1)

    def _hidden(self, number: int, width: Dimension) -> Dimension:
        if "ffn" in self.lists:
            return self._of_block("ffn", number).size
        return self._of_block("ratio", number).times(width)

    def _of_block(self, kind: str, number: int) -> Options:
        deep = [depth for depth in self.lists["depth"] if depth >= number]
        when = {"depth": deep} if len(deep) < len(self.lists["depth"]) else None
        return Options(f"{kind}{number}", self.lists[kind], when)


def transformer_options(
    family: str, given: Mapping[str, Sequence[int] | Sequence[float]], head_dim: int | None
) -> TransformerOptions:
    """The options of a family's lists, in any order; without a head_dim, the largest width over the most heads.

    NasplatError for an empty list, a number that is not above 0, or heads that do not divide the width.
    """
    lists = {n: (rising if n == "ratio" else whole)(f"{family} {n}", options) for n, options in given.items()}
    width, heads = int(lists["width"][-1]), int(lists["heads"][-1])
    if head_dim is not None:
        return TransformerOptions(lists, whole(f"{family} head_dim", [head_dim])[0])
    if width % heads:
        raise NasplatError(
            f"{family} width = {width} is not divisible by heads = {heads}: change one of them, or give head_dim"
        )
    return TransformerOptions(lists, width // heads)
