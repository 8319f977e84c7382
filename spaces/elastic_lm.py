"""Small language models of elastic depth, width, heads and feed-forward layers, over characters or bytes.

A decoder-only transformer with norms first and learned positions (GPT-2's layout) that predicts the next token at
every position. All architectures share one set of weights, as in HAT (arXiv:2005.14187): the first layers, the first
columns of the sequence, the first heads, the first hidden units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial

from torch import Tensor, nn

from nasplat.elastic import (
    ElasticDepth,
    ElasticEmbedding,
    ElasticLayerNorm,
    ElasticLinear,
    ElasticPositions,
    ElasticSpace,
    TransformerBlock,
)
from nasplat.elastic.blocks.options import whole
from nasplat.elastic.blocks.transformer import TransformerOptions, transformer_options
from nasplat.errors import NasplatError
from nasplat.space import Arch, SpaceFactory

RECIPE = {"optimiser": "adamw", "learning_rate": 6e-3, "weight_decay": 0.05, "clip": 1.0}
"""How the family is trained unless a study says otherwise: chosen on the built-in text, at the default sizes.

Much wider networks want a smaller learning rate, such as 5e-4.
"""


class ElasticLM(nn.Module):
    """Tokens, positions, causal blocks, norm, a logit for each token that may follow.

    tied: the output layer is the embedding, transposed (arXiv:1608.05859). Shapes: tokens (n, t) int64, t up to
    `context` -> (n, vocabulary, t), the class axis second, as everywhere.
    """

    def __init__(self, vocabulary: int, context: int, options: TransformerOptions, tied: bool) -> None:
        super().__init__()
        width, depth = options.width.size, options.depth.size
        self.embedding = ElasticEmbedding(vocabulary, width, std=width.maximum**-0.5 if tied else 1.0)
        self.positions = ElasticPositions(context, width)
        self.layers = ElasticDepth((TransformerBlock(sizes, causal=True) for sizes in options.blocks), depth)
        self.norm = ElasticLayerNorm(width)
        self.head = None if tied else ElasticLinear(width, vocabulary, bias=False)

    def forward(self, tokens: Tensor, arch: Arch) -> Tensor:
        x = self.positions(self.embedding(tokens, arch), arch)
        x = self.norm(self.layers(x, arch), arch)
        logits = self.embedding.logits(x, arch) if self.head is None else self.head(x, arch)
        return logits.transpose(1, 2)


def elastic_lm(
    *,
    input_shape: tuple[int],
    classes: int,
    depth: Sequence[int] = (2, 3, 4),
    width: Sequence[int] = (32, 48, 64),
    heads: Sequence[int] = (2, 3, 4),
    ffn: Sequence[int] = (64, 128, 256),
    head_dim: int | None = None,
    tied: bool = False,
) -> ElasticSpace:
    """The space of language models for windows of (context,) tokens; for `[data] name = "text"`.

    classes: the size of the vocabulary; tokens are 0 to classes - 1.
    depth: numbers of layers. width: of the sequence, one for the whole network. heads, ffn: of every layer its number
    of heads, and the hidden units of its feed-forward part. head_dim: the size of a head; by default the largest
    width over the largest number of heads. tied: the output layer shares the weights of the embedding, which
    saves parameters where the vocabulary is large; small models of characters learn more slowly by it.

    The choices are depth, width, heads1, ffn1 (of the first layer), heads2, ...; what has one option is no choice.
    Networks take shorter inputs too: (n, t) for any t up to the context.
    """
    lists = {"depth": depth, "width": width, "heads": heads, "ffn": ffn}
    options = transformer_options("elastic_lm", lists, head_dim)
    whole("elastic_lm classes", [classes])
    if len(whole("elastic_lm input_shape", input_shape)) != 1:
        raise NasplatError(
            f"elastic_lm input_shape = {list(input_shape)}: give windows of tokens as (context,)"
        )
    return ElasticSpace(
        "elastic_lm",
        options.choices,
        network=partial(ElasticLM, classes, input_shape[0], options, tied),
        input_shape=input_shape,
        constants={"tied": tied, "options": asdict(options)},
        recipe=RECIPE,
        vocabulary=classes,
    )


SPACE: SpaceFactory = elastic_lm
