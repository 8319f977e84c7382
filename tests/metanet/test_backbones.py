"""PNA, relational attention and DeepSets: equivariant, batched, differentiable, on forms that they never saw."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

from nasplat.channels.graph import ParameterGraph
from nasplat.channels.structure import GraphStructure
from nasplat.metanet.attention import RelationalAttention, attended
from nasplat.metanet.deep_sets import DeepSets
from nasplat.metanet.directions import directions
from nasplat.metanet.pna import Pna, aggregates
from nasplat.metanet.state import GraphState

from .by_hand import CNN, DEPTHWISE, MLP, filled, permuted, relabelled, structure

BACKBONES: dict[str, Callable[[], nn.Module]] = {
    "pna": lambda: Pna(8, 2),
    "attention": lambda: RelationalAttention(8, 2),
    "deep_sets": lambda: DeepSets(8, 2),
}
FORMS: dict[str, GraphStructure] = {
    "cnn": structure(CNN, norms=True),
    "mlp": structure(MLP),
    "skips": structure(
        (("conv", 4, (3, 3)), ("conv", 4, (3, 3)), ("conv", 4, ()), ("linear", 3, ())), skips=[(0, 2)]
    ),
    "depthwise": structure(DEPTHWISE, norms=True),
}


def made(name: str) -> nn.Module:
    torch.manual_seed(0)
    return BACKBONES[name]().double().eval()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", BACKBONES)
def test_states_move_with_the_neurons(name: str, form: str) -> None:
    plain = filled(FORMS[form])
    moved, new = relabelled(FORMS[form], seed=1)
    one, two = made(name)(plain), made(name)(ParameterGraph(moved, plain.tensors))
    torch.testing.assert_close(two.nodes[:, torch.from_numpy(new)], one.nodes)
    for first, second in zip(one.edges, two.edges, strict=True):
        torch.testing.assert_close(first, second)


@pytest.mark.parametrize("name", BACKBONES)
def test_states_of_permuted_weights_are_permuted(name: str) -> None:
    plain = filled(FORMS["cnn"], batch=(2,))
    moved, old = permuted(plain, seed=2)
    assert not torch.equal(plain.tensors["l0.weight"], moved.tensors["l0.weight"])
    one, two = made(name)(plain), made(name)(moved)
    torch.testing.assert_close(two.nodes, one.nodes[:, torch.from_numpy(old)])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", BACKBONES)
def test_a_batch_is_its_networks_one_by_one(name: str, form: str) -> None:
    backbone, many = made(name), filled(FORMS[form], batch=(3,))
    together = backbone(many)
    for i in range(3):
        alone = backbone(ParameterGraph(many.structure, {n: t[i] for n, t in many.tensors.items()}))
        torch.testing.assert_close(alone.nodes[0], together.nodes[i])
        for own, all_of_them in zip(alone.edges, together.edges, strict=True):
            torch.testing.assert_close(own[0], all_of_them[i])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", BACKBONES)
def test_shapes_are_those_of_the_form(name: str, form: str) -> None:
    state: GraphState = made(name)(filled(FORMS[form], batch=(3,)))
    assert state.nodes.shape == (3, FORMS[form].nodes, 8)
    assert state.edges is not None
    assert [edges.shape for edges in state.edges] == [(3, *b.shape[:3], 8) for b in FORMS[form].blocks]


@pytest.mark.parametrize("name", BACKBONES)
def test_every_weight_is_heard_and_every_gradient_is_right(name: str) -> None:
    form = structure((("conv", 2, (3, 3)), ("linear", 2, ())), inputs=1, norms=True)
    names, backbone = list(form.shapes), made(name)

    def total(*tensors: Tensor) -> Tensor:
        state = backbone(ParameterGraph(form, dict(zip(names, tensors, strict=True))))
        return torch.cat([state.nodes.flatten(), *(edges.flatten() for edges in state.edges)]).square().mean()

    given = [tensor.requires_grad_() for tensor in filled(form).tensors.values()]
    assert all(gradient.abs().max() > 0 for gradient in torch.autograd.grad(total(*given), given))
    assert torch.autograd.gradcheck(total, given)


@pytest.mark.parametrize("name", ["pna", "attention"])
def test_a_weight_is_heard_by_neurons_that_it_does_not_touch(name: str) -> None:
    plain = filled(FORMS["mlp"])
    other = {**plain.tensors, "l2.weight": plain.tensors["l2.weight"] + 1}
    one, two = made(name)(plain), made(name)(ParameterGraph(plain.structure, other))
    assert (one.nodes - two.nodes)[0, 2:7].abs().max() > 1e-6  # the first hidden row, two rounds away


def test_deep_sets_do_not_hear_who_is_connected_to_whom() -> None:
    plain = filled(FORMS["mlp"])
    weight = plain.tensors["l1.weight"]
    shuffled = {
        **plain.tensors,
        "l1.weight": weight.flatten()[torch.randperm(weight.numel())].view_as(weight),
    }
    one, two = made("deep_sets")(plain), made("deep_sets")(ParameterGraph(plain.structure, shuffled))
    torch.testing.assert_close(one.edges[1].sum((1, 2, 3)), two.edges[1].sum((1, 2, 3)))
    torch.testing.assert_close(one.nodes, two.nodes)


def aggregated(values: Sequence[Sequence[float]]) -> list[float]:
    """Mean, deviation, largest and smallest by hand."""
    flat = torch.tensor([v for row in values for v in row], dtype=torch.float64)
    return [float(flat.mean()), float(flat.std(correction=0)), float(flat.max()), float(flat.min())]


def test_aggregates_are_over_all_blocks_and_joins_that_reach_a_node() -> None:
    form = structure((("linear", 2, ()), ("linear", 2, ())), inputs=3, skips=[(0, 1)])
    forth, back = directions(form, torch.device("cpu"))
    blocks = [torch.randn(1, *block.shape[:3], 1, dtype=torch.float64) for block in form.blocks]
    joins = torch.randn(1, 2, 1, 1, 1, dtype=torch.float64)
    found = aggregates([*blocks, joins], forth)[0, 5]  # the first output neuron
    expected = aggregated([blocks[1][0, 0, 0, :, 0].tolist(), [joins[0, 0].item()]])
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), atol=4e-3, rtol=0)
    assert not aggregates([*blocks, joins], forth)[0, :3].any()  # nobody sends to inputs
    found = aggregates([*blocks, joins], back)[0, 4]  # the second hidden neuron
    expected = aggregated([blocks[1][0, 0, :, 1, 0].tolist(), [joins[0, 1].item()]])
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), atol=4e-3, rtol=0)


def test_attention_is_a_softmax_over_all_blocks_and_joins_that_reach_a_node() -> None:
    form = structure((("linear", 2, ()), ("linear", 2, ())), inputs=3, skips=[(0, 1)])
    forth, _ = directions(form, torch.device("cpu"))
    shapes = [*(block.shape[:3] for block in form.blocks), (2, 1, 1)]
    logits = [torch.randn(1, *shape, 1, dtype=torch.float64) * 30 for shape in shapes]
    values = [torch.randn(1, *shape, 1, 2, dtype=torch.float64) for shape in shapes]
    weights = torch.cat([logits[1][0, 0, 0, :, 0], logits[2][0, 0].flatten()]).softmax(0)
    seen = torch.cat([values[1][0, 0, 0, :, 0], values[2][0, 0, 0, 0]])
    torch.testing.assert_close(attended(logits, values, forth)[0, 5, 0], weights @ seen)
