"""Vision transformers of elastic depth, width, heads and feed-forward layers, for images of any size.

A plain vision transformer (ViT, arXiv:2010.11929), all of whose architectures share one set of weights (AutoFormer,
arXiv:2107.00651): the first blocks, the first columns of the sequence, the first heads, the first hidden units. The
size of a head is fixed, so the width inside attention follows the number of heads, not the width of the sequence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial

from torch import Tensor, nn

from nasplat.elastic import (
    ElasticClassToken,
    ElasticDepth,
    ElasticLayerNorm,
    ElasticLinear,
    ElasticPatches,
    ElasticPositions,
    ElasticSpace,
    TransformerBlock,
)
from nasplat.elastic.blocks.options import factors, image_shape, whole
from nasplat.elastic.blocks.transformer import TransformerOptions, transformer_options
from nasplat.errors import NasplatError, expected_one_of
from nasplat.space import Arch, SpaceFactory

MOST_TOKENS = 1024
"""No more patches are made where none are asked for: attention takes memory with the square of their number."""
POOLS = ("mean", "token")
RECIPE = {"optimiser": "adamw", "learning_rate": 4e-3, "weight_decay": 0.05, "clip": 1.0}
"""How the family is trained unless a study says otherwise: chosen on 8x8 digits, at the default sizes.

Much wider networks want a smaller learning rate, such as 5e-4.
"""


class ElasticViT(nn.Module):
    """Patches, positions, blocks, norm, linear head. Shapes: x (n, channels, h, w) -> (n, classes).

    The head reads the class token, or the mean of the tokens where there is none.
    """

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        patch: int,
        options: TransformerOptions,
        classes: int,
        token: bool,
    ) -> None:
        super().__init__()
        channels, height, length = input_shape
        width, depth = options.width.size, options.depth.size
        self.patches = ElasticPatches(channels, width, patch)
        self.token = ElasticClassToken(width) if token else None
        # As strong as the patches: with the usual 0.02, 12 epochs bring digits to 0.78 instead of 0.98.
        self.positions = ElasticPositions(height * length // patch**2 + token, width, std=1.0)
        self.blocks = ElasticDepth(map(TransformerBlock, options.blocks), depth)
        self.norm = ElasticLayerNorm(width)
        self.head = ElasticLinear(width, classes)

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        x = self.patches(x, arch)
        x = x if self.token is None else self.token(x, arch)
        x = self.norm(self.blocks(self.positions(x, arch), arch), arch)
        logits: Tensor = self.head(x.mean(1) if self.token is None else x[:, 0], arch)
        return logits


def elastic_vit(
    *,
    input_shape: tuple[int, int, int],
    classes: int,
    patch: int | None = None,
    depth: Sequence[int] = (2, 3, 4),
    width: Sequence[int] = (32, 48, 64),
    heads: Sequence[int] = (2, 3, 4),
    ratio: Sequence[float] = (1.0, 2.0, 4.0),
    head_dim: int | None = None,
    pool: str = "mean",
) -> ElasticSpace:
    """The space of vision transformers for images (channels, height, width).

    patch: side of the square patches, which must divide both sides of the image; by default the largest one up to
    16 pixels that leaves at least 6 patches along the shorter side, which must not make more than 1024.
    depth: numbers of blocks. width: of the sequence, one for the whole network. heads, ratio: of every block its
    number of heads, and its hidden units over the width. head_dim: the size of a head; by default the largest width
    over the largest number of heads. pool: the head reads the mean of all tokens, or a class token.

    The choices are depth, width, heads1, ratio1 (of the first block), heads2, ...; what has one option is no choice.
    The supernet of AutoFormer-T: depth = [12, 13, 14], width = [192, 216, 240], heads = [3, 4], ratio = [3.5, 4],
    head_dim = 64, pool = "token".
    """
    lists = {"depth": depth, "width": width, "heads": heads, "ratio": factors("elastic_vit ratio", ratio)}
    options = transformer_options("elastic_vit", lists, head_dim)
    whole("elastic_vit classes", [classes])
    if pool not in POOLS:
        raise NasplatError(f"elastic_vit pool = {pool!r}: {expected_one_of(pool, POOLS)}")
    image_shape("elastic_vit", input_shape)
    patch = _patch(input_shape[1:]) if patch is None else patch
    _check_patch(patch, input_shape)
    return ElasticSpace(
        "elastic_vit",
        options.choices,
        network=partial(ElasticViT, input_shape, patch, options, classes, pool == "token"),
        input_shape=input_shape,
        constants={"classes": classes, "patch": patch, "pool": pool, "options": asdict(options)},
        recipe=RECIPE,
    )


def _patch(sides: tuple[int, int]) -> int:
    fitting = [p for p in range(1, 17) if not any(side % p for side in sides) and min(sides) >= 6 * p]
    patch = max(fitting, default=1)
    tokens = math.prod(sides) // patch**2
    if tokens > MOST_TOKENS:
        height, width = sides
        raise NasplatError(
            f"elastic_vit makes {tokens} patches of {patch}x{patch} pixels out of images of {height}x{width}: give "
            "a patch that divides both sides, or images of other sides"
        )
    return patch


def _check_patch(patch: int, input_shape: tuple[int, int, int]) -> None:
    if type(patch) is not int or patch < 1 or any(side % patch for side in input_shape[1:]):
        height, width = input_shape[1:]
        raise NasplatError(
            f"elastic_vit patch = {patch}: give a number that divides both sides of images of {height}x{width} pixels"
        )


SPACE: SpaceFactory = elastic_vit
