"""The list form: the readable reference, against the formulas written once more, edge by edge."""

from __future__ import annotations

import torch

from nasplat.metanet.flat import FlatEdgeGated
from nasplat.metanet.layout import layout_of

from . import by_hand


def deviation(messages: torch.Tensor) -> torch.Tensor:
    """The standard deviation of messages (n, H), none where the variance is at most 1e-5."""
    variance = messages.square().mean(0) - messages.mean(0).square()
    return torch.where(variance > 1e-5, variance.clamp(min=1e-5).sqrt(), 0.0)


def by_loops(net: FlatEdgeGated, graph: object) -> tuple[torch.Tensor, torch.Tensor]:
    """Nodes (n, H) and edges (edges, H), by loops over nodes and edges; formulas (b.1) of the paper's code."""
    state = net.encoder(graph)
    layout = layout_of(graph.structure)  # type: ignore[attr-defined]
    h, e = state.nodes[0], layout.pack(state)[0]
    pairs = layout.edge_index().T.tolist()
    signs = torch.tensor([1.0] * (h.shape[1] // 2) + [-1.0] * (h.shape[1] - h.shape[1] // 2)).to(h)
    for layer in net.layers:
        n = (h - h.mean(1, keepdim=True)) / (h.var(1, keepdim=True, correction=0) + 1e-5).sqrt()
        a1, a2, a3, a4 = torch.nn.functional.silu(layer.maps(n)).chunk(4, dim=1)
        new = h.clone()
        for v in range(len(h)):
            against = [a2[v] * a1[t] * e[k] for k, (s, t) in enumerate(pairs) if s == v]
            along = [a2[v] * a1[s] * e[k] * signs for k, (s, t) in enumerate(pairs) if t == v]
            for messages in (against, along):
                got = torch.zeros(4 * h.shape[1]).to(h)
                if messages:
                    m = torch.stack(messages)
                    got = torch.cat([m.mean(0), deviation(m), m.amax(0), m.amin(0)])
                new[v] += layer.combine(got)
        gates = torch.stack([1 + a3[s] * a4[t] + a4[s] * a3[t] for s, t in pairs])
        h, e = new, e * gates
    return h, e


def test_the_list_form_computes_the_formulas_of_the_paper() -> None:
    form = by_hand.structure(by_hand.DEPTHWISE, skips=[(0, 2)], norms=True)
    graph = by_hand.filled(form)
    torch.manual_seed(0)
    net = FlatEdgeGated(5, 3).double()
    with torch.no_grad():
        nodes, edges = by_loops(net, graph)
        state = net(graph)
    torch.testing.assert_close(state.nodes[0], nodes, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(layout_of(form).pack(state)[0], edges, atol=1e-12, rtol=1e-12)


def test_a_batch_is_its_networks_one_by_one() -> None:
    form = by_hand.structure(by_hand.CNN)
    graphs = by_hand.filled(form, batch=(2,))
    torch.manual_seed(0)
    net = FlatEdgeGated(4, 2).double()
    both = net(graphs)
    for m in range(2):
        one = net(type(graphs)(form, {name: tensor[m] for name, tensor in graphs.tensors.items()}))
        torch.testing.assert_close(both.nodes[m], one.nodes[0])
        torch.testing.assert_close(both.edges[1][m], one.edges[1][0])
