"""The edge-gated metanetwork over blocks of weights: exactly the flat function, without gathering edges."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nasplat.channels.graph import ParameterGraph
from nasplat.errors import NasplatError
from nasplat.metanet.edge_gated_fused import kernels_for
from nasplat.metanet.edge_gated_kernels import Past
from nasplat.metanet.edge_gated_torch import TorchKernels
from nasplat.metanet.encoders import GraphEncoder
from nasplat.metanet.layout import Layout, layout_of, placed
from nasplat.metanet.state import GraphState


@dataclass(frozen=True, slots=True, eq=False)
class Edges:
    """States (m, edges, H) in flat order, as a layer finds them.

    base and between: earlier edges, kept for the backward pass, and the factors of the layers since, whose gates
    made `states` out of them. keep: after how many layers edges are kept; 0 keeps none, which is for inference.
    compiled: whether a compiled pass may be used.
    """

    layout: Layout
    states: Tensor
    keep: int = 0
    base: Tensor | None = None
    between: tuple[Tensor, ...] = ()
    compiled: bool = True


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
        self.register_buffer(
            "signs", torch.ones(width).index_fill_(0, torch.arange(width // 2, width), -1.0), False
        )

    def factors(self, nodes: Tensor) -> Tensor:
        """a1 to a4 of nodes (m, nodes, H), in a row: (m, nodes, 4 H)."""
        return F.silu(self.maps(F.layer_norm(nodes, nodes.shape[-1:])))

    def forward(self, nodes: Tensor, edges: Edges) -> tuple[Tensor, Edges]:
        """Nodes (m, nodes, H) and edges after the layer; edges that are not kept are overwritten."""
        factors = self.factors(nodes)
        if edges.keep > 0 and len(edges.between) % edges.keep == 0:
            edges = replace(edges, base=edges.states, between=())
        received, states = EdgePass.apply(factors, edges.states, edges)
        # one linear map of what came both ways is the sum of two, with its bias twice
        nodes = nodes + F.linear(received, self.combine.weight, 2 * self.combine.bias)
        return nodes, replace(edges, states=states, between=(*edges.between, factors.detach()))


class EdgePass(torch.autograd.Function):
    """A layer's pass over edges: what nodes receive, and updated edges, of factors (m, nodes, 4 H) and edges.

    Saved are factors, a few numbers of each node, and the edges last kept; in the backward pass a layer's edges are
    those times the gates since, computed where they are used.
    """

    @staticmethod
    def forward(ctx, factors, states, edges):  # type: ignore[no-untyped-def]
        """What nodes receive, (m, nodes, 4 H), and edges: in the memory of `states`, unless these are kept."""
        fresh = edges.keep > 0 and not edges.between
        out = torch.empty_like(states) if fresh else states
        kernels = kernels_for(states, factors) if edges.compiled else TorchKernels()
        received, stats = kernels.forward(edges.layout, factors, states, out, edges.keep > 0)
        if not fresh:
            ctx.mark_dirty(states)
        if edges.keep:
            ctx.kernels, ctx.layout, ctx.between = kernels, edges.layout, edges.between
            ctx.save_for_backward(factors, stats, edges.base)
        ctx.set_materialize_grads(False)
        return received, out

    @staticmethod
    @once_differentiable
    def backward(ctx, grads, g):  # type: ignore[no-untyped-def]
        """Gradients of factors and edges; the latter in the memory of g, which no one else holds."""
        factors, stats, base = ctx.saved_tensors
        grads = torch.zeros_like(factors) if grads is None else grads
        g = None if g is None else g.contiguous()
        past = Past(factors, base, ctx.between)
        return *ctx.kernels.backward(ctx.layout, past, stats, grads, g), None


class EdgeGated(nn.Module):
    """The backbone: encoders, then edge-gated layers; reads any parameter graph.

    width: H. grid: the largest kernel. words: see the encoders. keep: in training, edges are stored before every
    `keep`-th layer and computed again between: 1 is fastest, `layers` needs least memory. edge_type: of the stored
    states of edges, such as torch.bfloat16; by default that of the parameters. compiled: False does without the
    compiled pass, see `edge_gated_fused`.
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
        compiled: bool = True,
    ) -> None:
        super().__init__()
        if keep < 1:
            raise NasplatError(f"keep is {keep}: edges are kept before every keep-th layer; give 1 or more")
        self.encoder = GraphEncoder(width, grid, words)
        self.layers = nn.ModuleList(EdgeGatedLayer(width) for _ in range(layers))
        self.keep = keep
        self.edge_type = edge_type
        self.compiled = compiled

    def forward(self, graph: ParameterGraph) -> GraphState:
        """Hidden states of nodes, blocks and joins."""
        state: GraphState = self.encoder(graph)
        nodes = state.nodes
        layout = placed(layout_of(graph.structure), nodes.device)
        flat = layout.pack(state).to(self.edge_type or nodes.dtype)
        edges = Edges(layout, flat, self.keep if torch.is_grad_enabled() else 0, compiled=self.compiled)
        del state, flat
        for layer in self.layers:
            nodes, edges = layer(nodes, edges)
        return GraphState(nodes, *layout.unpack(edges.states, graph.structure))
