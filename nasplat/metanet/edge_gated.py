"""The edge-gated metanetwork over blocks of weights: exactly the flat function, without gathering edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nasplat.channels.graph import ParameterGraph
from nasplat.metanet.edge_gated_fused import kernels_for
from nasplat.metanet.edge_gated_kernels import Factors, Past, Received
from nasplat.metanet.encoders import GraphEncoder
from nasplat.metanet.layout import Layout, layout_of
from nasplat.metanet.state import GraphState

LEAST_VARIANCE = 1e-5
"""A smaller variance counts as none, as in torch_geometric's aggregation."""


@dataclass(frozen=True, slots=True, eq=False)
class Edges:
    """States (m, edges, H) in flat order, as a layer finds them.

    base and between: earlier edges, kept for the backward pass, and the factors of the layers since, whose gates made
    `states` out of them. keep: after how many layers edges are kept; 0 keeps none, which is for inference.
    """

    layout: Layout
    states: Tensor
    keep: int = 0
    base: Tensor | None = None
    between: tuple[Factors, ...] = ()
    last: bool = False


class EdgeGatedLayer(nn.Module):
    """One layer of arXiv:2506.12041. With n = LayerNorm(h) without parameters, and a1 to a4 = SiLU(Linear(n)):

    message along an edge u to v: a2(v) a1(u) e; at each node mean, standard deviation, maximum and minimum of messages,
    4 H numbers, through one linear map. Edges are passed from target to source, and, with e times the signs s (+1 in
    the first half of the channels, -1 in the rest), from source to target; h gets the sum of both. Then
    e <- e (1 + a3(u) a4(v) + a4(u) a3(v)).
    """

    signs: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.maps = nn.Linear(width, 4 * width)
        self.combine = nn.Linear(4 * width, width)
        self.register_buffer("signs", torch.ones(width).index_fill_(0, torch.arange(width // 2, width), -1.0), False)

    def factors(self, nodes: Tensor) -> Sequence[Tensor]:
        """a1 to a4 of nodes (m, nodes, H)."""
        return F.silu(self.maps(F.layer_norm(nodes, nodes.shape[-1:]))).chunk(4, dim=-1)

    def forward(self, nodes: Tensor, edges: Edges) -> tuple[Tensor, Edges]:
        """Nodes (m, nodes, H) and edges after the layer; edges that are not kept are overwritten."""
        a1, a2, a3, a4 = (a.contiguous() for a in self.factors(nodes))
        factors = Factors(a1, a3, a4)
        kept = edges.keep > 0 and len(edges.between) % edges.keep == 0
        if kept:
            edges = replace(edges, base=edges.states, between=())
        stats, states = EdgePass.apply(a1, a3, a4, edges.states, edges)  # type: ignore[no-untyped-call]
        between = (*edges.between, Factors(*(a.detach() for a in factors.all)))
        received = self.combined(stats, torch.stack([a2, a2 * self.signs], dim=1), edges.layout)
        return nodes + received, replace(edges, states=states, between=between)

    def combined(self, stats: Tensor, a2: Tensor, layout: Layout) -> Tensor:
        """What nodes get, (m, nodes, H), from stats (m, 2, nodes, 4, H) and signed a2 (m, 2, nodes, H)."""
        count = layout.degrees.to(stats.device).clamp(min=1)[..., None]
        total, square, most, least = stats.unbind(dim=3)
        mean = total / count
        variance = (square / count - mean.square()) * a2.square()
        deviation = torch.where(variance > LEAST_VARIANCE, variance.clamp(min=LEAST_VARIANCE).sqrt(), 0.0)
        rising = a2 >= 0
        highest, lowest = torch.where(rising, most, least) * a2, torch.where(rising, least, most) * a2
        both = torch.cat([part.sum(1) for part in (mean * a2, deviation, highest, lowest)], dim=-1)
        return F.linear(both, self.combine.weight, 2 * self.combine.bias)


class EdgePass(torch.autograd.Function):
    """A layer's pass over edges: stats and updated edges from a1, a3, a4 (m, nodes, H) and edges.

    Saved are the factors, the stats and the edges last kept; in the backward pass a layer's edges are those times the
    gates since, computed where they are used.
    """

    @staticmethod
    def forward(ctx, a1, a3, a4, states, edges):  # type: ignore[no-untyped-def]
        """Stats (m, 2, nodes, 4, H), zero where no edge is, and updated edges: `states` itself but where it is kept."""
        kernels, factors = kernels_for(states, a1), Factors(a1, a3, a4)
        fresh = edges.keep > 0 and not edges.between
        out = torch.empty_like(states) if fresh else states
        received = kernels.forward(edges.layout, factors, states, out, edges.keep > 0)
        received.stats.masked_fill_((edges.layout.degrees == 0).to(a1.device)[:, :, None, None], 0)
        if not fresh:
            ctx.mark_dirty(states)
        if edges.keep:
            ctx.edges, ctx.ties = replace(edges, states=states[:0], base=None), received.ties
            ctx.save_for_backward(a1, a3, a4, received.stats, edges.base)
        ctx.set_materialize_grads(False)
        return received.stats, out

    @staticmethod
    @once_differentiable
    def backward(ctx, grads, g):  # type: ignore[no-untyped-def]
        """Gradients of a1, a3, a4 and edges; those of edges overwrite g, which no one else holds but the last."""
        a1, a3, a4, stats, base = ctx.saved_tensors
        grads = torch.zeros_like(stats) if grads is None else grads.contiguous().clone()
        grads[..., 2:, :] /= ctx.ties.clamp(min=1)
        if g is not None:
            g = g.clone(memory_format=torch.contiguous_format) if ctx.edges.last else g.contiguous()
        past = Past(Factors(a1, a3, a4), base, ctx.edges.between)
        kernels = kernels_for(base, a1)
        got = kernels.backward(ctx.edges.layout, past, Received(stats, ctx.ties), grads, g)
        return *got.factors.all, got.edges, None


class EdgeGated(nn.Module):
    """The backbone: encoders, then edge-gated layers; reads any parameter graph.

    width: H. grid: the largest kernel. words: see the encoders. keep: in training, edges are stored before every
    `keep`-th layer and computed again between: 1 is fastest, `layers` needs least memory. edge_type: of the stored
    states of edges, such as torch.bfloat16; by default that of the parameters.
    """

    def __init__(
        self,
        width: int = 64,
        layers: int = 8,
        *,
        grid: int = 3,
        words: bool = True,
        keep: int = 4,
        edge_type: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.encoder = GraphEncoder(width, grid, words)
        self.layers = nn.ModuleList(EdgeGatedLayer(width) for _ in range(layers))
        self.keep = keep
        self.edge_type = edge_type

    def forward(self, graph: ParameterGraph) -> GraphState:
        """Hidden states of nodes, blocks and joins."""
        state: GraphState = self.encoder(graph)
        layout, nodes = layout_of(graph.structure), state.nodes
        assert state.edges is not None and state.joins is not None  # what the encoder gives
        flat = layout.pack(state.edges, state.joins).to(self.edge_type or nodes.dtype)
        edges = Edges(layout, flat, self.keep if torch.is_grad_enabled() else 0)
        del state, flat
        for number, layer in enumerate(self.layers, 1):
            nodes, edges = layer(nodes, replace(edges, last=number == len(self.layers)))
        return GraphState(nodes, *layout.unpack(edges.states, graph.structure))
