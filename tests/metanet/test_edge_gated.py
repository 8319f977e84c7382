"""Blocks of weights: the function of the list form, its gradients, and what is done to save time and memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from nasplat.channels.graph import ParameterGraph
from nasplat.errors import NasplatError
from nasplat.metanet import edge_gated_fused, edge_gated_torch
from nasplat.metanet.edge_gated import EdgeGated, EdgePass, Edges
from nasplat.metanet.flat import FlatEdgeGated
from nasplat.metanet.layout import layout_of
from nasplat.metanet.state import GraphState

from . import by_hand

FORMS = {
    "cnn": by_hand.structure(by_hand.CNN, norms=True),
    "depthwise": by_hand.structure(by_hand.DEPTHWISE, skips=[(0, 2)]),
    "wide": by_hand.structure([("linear", 70, ()), ("linear", 7, ())], inputs=60),
    "two ways to one": by_hand.structure([("linear", 4, ())] * 4, inputs=4, skips=[(0, 1), (0, 2), (1, 3)]),
}
WAYS = {"compiled": True, "torch": False}
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-10}


@pytest.fixture(params=WAYS.values(), ids=WAYS)
def compiled(request: Any) -> bool:
    """Whether the compiled pass is used; skips where it cannot be made."""
    if request.param and edge_gated_fused.compiled() is None:
        pytest.skip("no C++ compiler on this machine")
    return bool(request.param)


def outputs(state: GraphState) -> list[Tensor]:
    return [state.nodes, *(state.edges or ()), *(state.joins or ())]


def gradients(net: torch.nn.Module, graph: ParameterGraph) -> list[Tensor]:
    """Of all parameters, from fixed random gradients of all outputs."""
    found = outputs(net(graph))
    generator = torch.Generator().manual_seed(5)
    grads = [torch.randn(t.shape, generator=generator, dtype=torch.float64).to(t) for t in found]
    return list(
        torch.autograd.grad(found, list(net.parameters()), grads, allow_unused=True, materialize_grads=True)
    )


def pair(width: int, layers: int, dtype: torch.dtype, **options: Any) -> tuple[EdgeGated, FlatEdgeGated]:
    """Both forms with the same parameters."""
    torch.manual_seed(1)
    blocks, flat = EdgeGated(width, layers, **options).to(dtype), FlatEdgeGated(width, layers).to(dtype)
    flat.load_state_dict(blocks.state_dict())
    return blocks, flat


def close(found: list[Tensor], expected: list[Tensor], share: float) -> None:
    for a, b in zip((t.detach() for t in found), (t.detach() for t in expected), strict=True):
        torch.testing.assert_close(a, b, rtol=share, atol=share * float(b.abs().max()))


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("batch", [(), (3,)], ids=["one", "three"])
@pytest.mark.parametrize("form", FORMS)
def test_blocks_give_the_outputs_and_gradients_of_the_list(
    form: str, batch: tuple[int, ...], dtype: torch.dtype, compiled: bool
) -> None:
    graph = by_hand.filled(FORMS[form], batch=batch, dtype=dtype)
    width = 18  # more channels than a vector has, and not a whole number of vectors
    blocks, flat = pair(width, 3, dtype, keep=2, compiled=compiled)
    close(outputs(blocks(graph)), outputs(flat(graph)), TOLERANCE[dtype])
    close(gradients(blocks, graph), gradients(flat, graph), 10 * TOLERANCE[dtype])


def test_gradients_of_a_pass_are_those_of_finite_differences(compiled: bool) -> None:
    small = (("linear", 2, ()), ("depthwise", 2, (3,)), ("linear", 2, ()))
    layout = layout_of(by_hand.structure(small, skips=[(0, 2)]))
    generator = torch.Generator().manual_seed(2)
    like = {"generator": generator, "dtype": torch.float64}
    factors = torch.randn(2, layout.nodes, 4 * 2, **like).requires_grad_()  # type: ignore[call-overload]
    states = torch.randn(2, layout.edges, 2, **like).requires_grad_()  # type: ignore[call-overload]

    def call(factors: Tensor, states: Tensor) -> Any:
        return EdgePass.apply(factors, states, Edges(layout, states, keep=1, base=states, compiled=compiled))

    assert torch.autograd.gradcheck(call, (factors, states), eps=1e-7, atol=1e-5)


def test_a_tie_shares_the_gradient_of_an_extreme_evenly(compiled: bool) -> None:
    layout = layout_of(by_hand.structure([("linear", 2, ())], inputs=3))
    factors, width = torch.ones(1, layout.nodes, 4), 1
    factors.requires_grad_()
    states = torch.full((1, layout.edges, width), 2.0, requires_grad=True)
    received, _ = EdgePass.apply(
        factors, states, Edges(layout, states, keep=1, base=states, compiled=compiled)
    )
    (grad,) = torch.autograd.grad(
        received[0, -1, 2], states
    )  # the maximum at the last output: three messages of -2
    assert sorted(grad.flatten().tolist()) == pytest.approx([-1 / 3] * 3 + [0.0] * 3)


@pytest.mark.parametrize("keep", [1, 2, 3, 5])
def test_edges_made_again_have_the_gradients_of_edges_kept(keep: int, compiled: bool) -> None:
    graph = by_hand.filled(FORMS["cnn"])
    reference, _ = pair(8, 5, torch.float64, keep=1, compiled=False)
    again, _ = pair(8, 5, torch.float64, keep=keep, compiled=compiled)
    close(gradients(again, graph), gradients(reference, graph), 1e-11)


def test_without_gradients_the_outputs_are_the_same_and_the_network_is_untouched(compiled: bool) -> None:
    graph = by_hand.filled(FORMS["two ways to one"])
    before = {name: tensor.clone() for name, tensor in graph.tensors.items()}
    net, _ = pair(8, 3, torch.float64, compiled=compiled)
    with torch.no_grad():
        close(outputs(net(graph)), outputs(net(graph)), 0.0)
        quiet = outputs(net(graph))
    close(quiet, [t.detach() for t in outputs(net(graph))], 1e-12)
    assert all(torch.equal(before[name], tensor) for name, tensor in graph.tensors.items())


def test_a_network_that_is_to_be_edited_gets_gradients_too(compiled: bool) -> None:
    graph = by_hand.filled(FORMS["cnn"])
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in graph.tensors.items()}
    blocks, flat = pair(6, 2, torch.float64, compiled=compiled)
    found, expected = (
        torch.autograd.grad(
            sum(t.square().mean() for t in outputs(net(ParameterGraph(graph.structure, leaves)))),
            list(leaves.values()),
        )
        for net in (blocks, flat)
    )
    close(list(found), list(expected), 1e-10)


def test_gradients_of_nodes_alone_are_those_of_the_list(compiled: bool) -> None:
    graph = by_hand.filled(FORMS["depthwise"])
    blocks, flat = pair(6, 3, torch.float64, compiled=compiled)
    found, expected = (
        torch.autograd.grad(net(graph).nodes.square().sum(), list(net.encoder.parameters()))
        for net in (blocks, flat)
    )
    close(list(found), list(expected), 1e-10)


def test_threads_change_nothing() -> None:
    graph = by_hand.filled(FORMS["wide"], dtype=torch.float32)
    net, _ = pair(50, 2, torch.float32)
    alone = gradients(net, graph)
    torch.set_num_threads(3)
    try:
        close(gradients(net, graph), alone, 1e-6)
    finally:
        torch.set_num_threads(1)


def test_chunks_smaller_than_a_block_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = by_hand.filled(FORMS["wide"])
    net, _ = pair(5, 2, torch.float64, compiled=False)
    whole = gradients(net, graph)
    monkeypatch.setattr(edge_gated_torch, "CHUNK_EDGES", 100)
    close(gradients(net, graph), whole, 1e-11)


def test_permuted_neurons_have_permuted_states(compiled: bool) -> None:
    graph = by_hand.filled(FORMS["cnn"])
    changed, old = by_hand.permuted(graph, seed=3)
    net, _ = pair(8, 3, torch.float64, compiled=compiled)
    torch.testing.assert_close(net(changed).nodes[0], net(graph).nodes[0][old])


def test_edges_of_half_precision_stay_near(compiled: bool) -> None:
    graph = by_hand.filled(FORMS["cnn"], dtype=torch.float32)
    half, flat = pair(8, 2, torch.float32, edge_type=torch.bfloat16, compiled=compiled)
    state = half(graph)
    assert all(edges.dtype == torch.bfloat16 for edges in state.edges or ())
    close([state.nodes], [flat(graph).nodes], 0.05)
    assert all(bool(grad.isfinite().all()) for grad in gradients(half, graph))


def test_without_a_compiler_torch_operations_do_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    edge_gated_fused.compiled.cache_clear()
    try:
        edges = torch.zeros(1, 2, 3)
        assert isinstance(edge_gated_fused.kernels_for(edges, edges), edge_gated_torch.TorchKernels)
    finally:
        edge_gated_fused.compiled.cache_clear()


def test_keeping_edges_before_no_layer_is_refused() -> None:
    with pytest.raises(NasplatError, match="keep is 0"):
        EdgeGated(4, 1, keep=0)
