"""Words of structures as numbers that mean the same for every network: for embeddings, and for flat lists of edges."""

from __future__ import annotations

from collections.abc import Sequence

from nasplat.channels.structure import COLUMNS, JOINS

KINDS = (
    "input",
    "conv",
    "conv_transpose",
    "linear",
    "embedding",
    "position",
    "position_scale",
    "norm",
    "sum",
    "product",
    "constant",
    "state",
    "opaque",
)
"""Kinds of rows and of blocks."""

ACTIVATIONS = (
    "",
    "relu",
    "gelu",
    "silu",
    "tanh",
    "sigmoid",
    "leaky_relu",
    "elu",
    "hardswish",
    "hardsigmoid",
    "sin",
)
"""Activations behind a row; "" is none."""

NODE_KINDS = (*KINDS, *COLUMNS)
"""Kinds of nodes: of rows, and of the extra nodes of a multigraph."""

EDGE_KINDS = tuple(dict.fromkeys((*KINDS, *COLUMNS, *JOINS)))
"""Kinds of edges: of blocks, of the vectors of a multigraph, and of joins."""


def number(word: str, known: Sequence[str]) -> int:
    """1 + the place of a word among those known, 0 for all others: an index of len(known) + 1 rows."""
    return known.index(word) + 1 if word in known else 0
