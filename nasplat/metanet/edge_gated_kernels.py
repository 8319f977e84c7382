"""What a layer does over all edges, forward and backward: the role, and the data that its players share.

For an edge with state e from source u to target v the layer takes a1, a3 and a4 of its ends. Of a message a2(v) a1(u) e
only a1(u) e runs over edges: a2 leaves sums, and up to its sign extremes. So a block is read once, as (outs, ins), and
reduced along one axis for each direction; only what blocks sum up to is added at their nodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from nasplat.metanet.layout import Layout

LEAST_VARIANCE = 1e-5
"""A smaller variance of messages counts as none, as in torch_geometric's aggregation."""


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """What a backward pass starts from: a layer's factors, and its edges (m, edges, H) as earlier ones, times the gates
    of the factors of the layers between. Factors (m, nodes, 4 H) are a1 to a4."""

    factors: Tensor
    edges: Tensor
    between: tuple[Tensor, ...] = ()


class Kernels(Protocol):
    """One pass over all edges of a layout."""

    def forward(
        self, layout: Layout, factors: Tensor, edges: Tensor, out: Tensor, train: bool
    ) -> tuple[Tensor, Tensor]:
        """What nodes receive, (m, nodes, 4 H): mean, standard deviation, maximum and minimum of messages, those along
        edges and those against them added; and what `backward` needs of it, if `train`.

        Writes edges times their gates to `out`, which may be `edges`.
        """

    def backward(
        self, layout: Layout, past: Past, stats: Tensor, grads: Tensor, g: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Gradients of factors and of edges, from those of what nodes receive, and of the updated edges where these are
        used; may overwrite g."""
