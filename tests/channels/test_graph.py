"""Parameters as a graph, and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nasplat.channels.graph import ParameterGraph, feature_names
from nasplat.channels.stacking import stack_graphs, unstack_graphs
from nasplat.channels.structure import Block, GraphStructure
from nasplat.channels.writing import named_tensors
from nasplat.errors import NasplatError

from .by_hand import MAKERS, chain, made


@pytest.fixture(params=sorted(MAKERS))
def by_hand(request):
    return made(request.param)


@pytest.fixture(name="residual")
def residual_():
    return made("residual")


def graph_of(module, spec):
    return ParameterGraph(spec.structure, named_tensors(module))


def test_features_and_edges_give_back_every_tensor_exactly(by_hand) -> None:
    module, spec = by_hand
    graph = graph_of(module, spec)
    again = graph.replace(graph.features, graph.edges)
    for name, tensor in module.state_dict().items():
        assert torch.equal(again.tensors[name], tensor), name
        assert again.tensors[name].dtype == tensor.dtype


def test_edges_share_the_memory_of_the_module(residual) -> None:
    module, spec = residual
    edges = graph_of(module, spec).edges
    assert [e.data_ptr() for e in edges] == [p.data_ptr() for n, p in module.named_parameters() if p.ndim > 1]
    assert edges[0].shape == (1, 4, 3, 9)


LAYOUTS = {
    # name: (shape, split, order, where an edge's number stands) for g groups of o by i, k numbers each
    "plain": lambda g, o, i, k: (
        (g * o, i, k),
        (g, o, i, k),
        (0, 1, 2, 3),
        lambda b, t, s, n: (b * o + t, s, n),
    ),
    "transposed": lambda g, o, i, k: (
        (g * i, o, k),
        (g, i, o, k),
        (0, 2, 1, 3),
        lambda b, t, s, n: (b * i + s, t, n),
    ),
    "inner": lambda g, o, i, k: (
        (g * o, i * k),
        (g, o, i, k),
        (0, 1, 2, 3),
        lambda b, t, s, n: (b * o + t, s * k + n),
    ),
    "outer": lambda g, o, i, k: (
        (g * o, k * i),
        (g, o, k, i),
        (0, 1, 3, 2),
        lambda b, t, s, n: (b * o + t, n * i + s),
    ),
}


@settings(max_examples=40, deadline=None)
@given(
    layout=st.sampled_from(sorted(LAYOUTS)),
    sizes=st.tuples(*(st.integers(1, 3),) * 4),
    batch=st.lists(st.integers(1, 3), max_size=2),
)
def test_a_block_reads_every_layout_number_by_number_and_writes_it_back(layout, sizes, batch) -> None:
    g, o, i, k = sizes
    shape, split, order, place = LAYOUTS[layout](*sizes)
    sources, targets = np.arange(g * i).reshape(g, i), np.arange(g * o).reshape(g, o)
    block = Block("weight", "conv", sources, targets, (k,), len(shape), split, order)
    weight = torch.randn(*batch, *shape)
    edges = block.view(weight)
    assert edges.shape == (*batch, *sizes)
    for index in np.ndindex(sizes):
        assert torch.equal(edges[(..., *index)], weight[(..., *place(*index))])
    assert torch.equal(block.unview(edges, shape), weight)


def test_features_name_what_every_neuron_holds_and_defaults_elsewhere(residual) -> None:
    module, spec = residual
    names, features = feature_names(), graph_of(module, spec).features
    assert features.shape == (16, 10)
    column = {name: features[:, number] for number, name in enumerate(names)}
    assert torch.equal(
        column["bias"], torch.cat([torch.zeros(3), module.conv1.bias, torch.zeros(4), module.fc.bias])
    )
    scale = torch.cat([torch.ones(3), module.bn1.weight, module.bn2.weight, torch.ones(5)])
    assert torch.equal(column["scale"], scale)
    assert torch.equal(column["variance_2"], torch.ones(16))
    assert torch.equal(column["mean"][7:11], module.bn2.running_mean)


def test_gradients_through_the_graph_equal_those_of_the_parameters(by_hand) -> None:
    module, spec = by_hand
    size = {"residual": (2, 3, 2, 2), "grouped": (2, 2, 3, 5)}
    kind = type(module).__name__.lower()
    x = torch.randn(size.get(kind, (2, 3)))
    graph = graph_of(module, spec)
    features, edges = graph.features.requires_grad_(), [e.clone().requires_grad_() for e in graph.edges]
    out = graph.replace(features, edges).functional(module, x)
    torch.testing.assert_close(out, module(x))
    out.square().sum().backward()
    module(x).square().sum().backward()
    for block, edge in zip(spec.structure.blocks, edges, strict=True):
        torch.testing.assert_close(edge.grad, block.view(module.get_parameter(block.parameter).grad))
    for vector in spec.structure.vectors:
        if vector.column in ("bias", "scale", "shift"):
            expected = module.get_parameter(vector.parameter).grad
            torch.testing.assert_close(features.grad[vector.nodes, vector.feature], expected)


def test_columns_to_keep_stay_and_the_others_change(residual) -> None:
    module, spec = residual
    graph = graph_of(module, spec)
    changed = graph.replace(graph.features + 1, graph.edges, keep=("mean", "variance"))
    assert torch.equal(changed.tensors["bn1.running_var"], module.bn1.running_var)
    assert torch.equal(changed.tensors["bn1.weight"], module.bn1.weight.detach() + 1)


def test_features_made_in_inference_mode_leave_nothing_that_breaks_a_later_gradient(residual) -> None:
    module, spec = residual
    graph = graph_of(module, spec)
    with torch.inference_mode():
        graph.replace(graph.features, graph.edges)
    features = graph.features.requires_grad_()
    graph.replace(features, graph.edges).tensors["fc.bias"].sum().backward()
    assert features.grad.sum() == 5


def test_a_batch_of_edits_of_one_network_is_a_batch_of_networks(residual) -> None:
    module, spec = residual
    graph = graph_of(module, spec)
    edits = torch.tensor([1.0, 2.0, 3.0])
    edges = [edits[:, None, None, None, None] * edge for edge in graph.edges]
    batch = graph.replace(graph.features.expand(3, -1, -1), edges, keep=("mean",))
    assert batch.batch == (3,)
    assert torch.equal(batch.tensors["bn1.running_mean"][2], module.bn1.running_mean)
    assert torch.equal(unstack_graphs(batch)[1].edges[0], 2 * graph.edges[0])


def test_features_and_edges_are_on_the_device_of_the_tensors(residual) -> None:
    module, spec = residual
    graph = graph_of(module, spec)
    assert (
        graph.features.device.type == "cpu"
    )  # what is remembered of the structure must not be of this device
    elsewhere = graph.to(device="meta")
    again = elsewhere.replace(elsewhere.features, elsewhere.edges)
    assert {tensor.device.type for tensor in again.tensors.values()} == {"meta"}


def test_another_type_is_for_floats_only(residual) -> None:
    module, spec = residual
    double = graph_of(module, spec).to(dtype=torch.float64)
    assert double.features.dtype == torch.float64
    assert double.tensors["bn1.num_batches_tracked"].dtype == torch.int64
    again = double.replace(double.features.float(), double.edges)
    assert again.tensors["fc.bias"].dtype == torch.float64


def test_a_batch_is_stacked_read_and_unstacked(by_hand) -> None:
    module, spec = by_hand
    other = {
        name: torch.rand_like(t) if t.is_floating_point() else t for name, t in named_tensors(module).items()
    }
    graphs = [graph_of(module, spec), ParameterGraph(spec.structure, other)]
    both = stack_graphs(graphs)
    assert both.batch == (2,)
    assert torch.equal(both.features[1], graphs[1].features)
    assert all(torch.equal(b[0], e) for b, e in zip(both.edges, graphs[0].edges, strict=True))
    for graph, member in zip(graphs, unstack_graphs(both.replace(both.features, both.edges)), strict=True):
        assert all(torch.equal(graph.tensors[name], member.tensors[name]) for name in graph.tensors)
    four = stack_graphs([both, both])
    assert four.batch == (2, 2)
    assert torch.equal(four.features[1], both.features)


def test_a_batch_runs_every_network_on_the_same_inputs(residual) -> None:
    module, spec = residual
    graphs = [graph_of(module, spec)]
    graphs.append(graphs[0].replace(graphs[0].features * 1.5, graphs[0].edges))
    x = torch.randn(3, 3, 2, 2)
    out = stack_graphs(graphs).functional(module, x)
    torch.testing.assert_close(out, torch.stack([g.functional(module, x) for g in graphs]))


def test_only_equal_forms_are_stacked() -> None:
    one, two = (graph_of(*chain([2, 3, 1])) for _ in range(2))
    assert stack_graphs([one, two]).batch == (2,)
    with pytest.raises(NasplatError, match=r"graph 1 .* another form"):
        stack_graphs([one, graph_of(*chain([2, 4, 1]))])
    with pytest.raises(NasplatError, match="at least one"):
        stack_graphs([])
    with pytest.raises(NasplatError, match="not a batch"):
        unstack_graphs(one)


def test_writing_back_copies_every_tensor_into_a_module_of_the_same_form(by_hand) -> None:
    module, spec = by_hand
    fresh = (
        nn.Sequential(*(nn.Linear(a.in_features, a.out_features) for a in module))
        if isinstance(module, nn.Sequential)
        else type(module)()
    )
    graph = graph_of(module, spec)
    graph.replace(graph.features, graph.edges).write_back(fresh)
    for name, tensor in module.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], tensor), name
    assert all(p.requires_grad and p.is_leaf for p in fresh.parameters())


def test_a_turned_view_of_a_weight_is_written_to_that_weight() -> None:
    module, spec = chain([3, 3, 3])
    first, second = (layer.weight.detach().clone() for layer in module)
    graph = graph_of(module, spec)
    one, two = graph.edges
    graph.replace(graph.features, [two, one.transpose(1, 2)]).write_back(
        module
    )  # swapped, one of them turned
    assert torch.equal(module[0].weight, second)
    assert torch.equal(module[1].weight, first.T)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 4)), "no '2.weight'"),
        (nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 4), nn.Linear(4, 3)), r"shape \(3, 4\)"),
        (nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 4), nn.Linear(4, 2), nn.PReLU()), "no '3.weight'"),
    ],
)
def test_another_module_is_refused_and_stays_as_it_was(other, said) -> None:
    module, spec = chain([3, 5, 4, 2])
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(NasplatError, match=said) as error:
        graph_of(module, spec).write_back(other)
    assert "\n" not in str(error.value)
    assert all(torch.equal(before[name], tensor) for name, tensor in other.state_dict().items())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_values_that_are_not_finite_in_the_module_are_refused(residual, value) -> None:
    module, spec = residual
    graph = graph_of(module, spec).to(dtype=torch.float64)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    edges = [edge.clone() for edge in graph.edges]
    edges[2][0, 1, 2, 3] = value
    with pytest.raises(NasplatError, match=r"1 of the 80 numbers of 'fc.weight' are not finite"):
        graph.replace(graph.features * 2, edges).write_back(module)
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


def test_a_batch_is_not_written_to_one_module(residual) -> None:
    module, spec = residual
    with pytest.raises(NasplatError, match="unstack_graphs"):
        stack_graphs([graph_of(module, spec)] * 2).write_back(module)


class Tied(nn.Module):
    """An embedding whose table is also the last layer's weight, under the names of both, and a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
        self.head.weight = self.embedding.weight
        self.register_buffer("mask", torch.full((2, 2), float("-inf")).triu(1))

    def forward(self, tokens):
        return self.head(self.embedding(tokens))


def tied_graph(module):
    tokens, hidden = np.arange(5)[None], np.arange(5, 8)[None]
    block = Block("embedding.weight", "embedding", tokens, hidden, (), 2, (1, 5, 3), (0, 2, 1))
    shapes = {"embedding.weight": (5, 3), "mask": (2, 2)}
    form = GraphStructure((), (block,), (), (), ("mask",), np.full(8, -1), shapes)
    return ParameterGraph(form, named_tensors(module))


def test_a_tensor_of_two_names_is_one_tensor_everywhere() -> None:
    module, tokens = Tied(), torch.tensor([[0, 3]])
    graph = tied_graph(module)
    assert sorted(graph.tensors) == ["embedding.weight", "mask"]
    doubled = graph.replace(graph.features, [2 * graph.edges[0]])
    torch.testing.assert_close(doubled.functional(module, tokens), 4 * module(tokens))
    expected = 2 * module.head.weight.detach()
    doubled.write_back(module)
    assert module.head.weight is module.embedding.weight
    assert torch.equal(module.head.weight, expected)


def test_two_tensors_are_not_one_tensor_of_two_names() -> None:
    graph, apart = tied_graph(Tied()), Tied()
    apart.head.weight = nn.Parameter(torch.zeros(5, 3))
    with pytest.raises(NasplatError, match=r"no 'head.weight'"):
        graph.write_back(apart)


def test_a_mask_of_infinities_is_no_mistake_but_a_nan_is() -> None:
    module = Tied()
    graph = tied_graph(module)
    graph.write_back(module)
    module.mask.fill_(float("nan"))
    with pytest.raises(NasplatError, match="'mask'"):
        graph.write_back(module)


def test_a_graph_says_how_large_it_is(residual) -> None:
    module, spec = residual
    graph = graph_of(module, spec)
    assert repr(graph) == "ParameterGraph(16 nodes, 52 edges, 4 rows)"
    assert repr(stack_graphs([graph] * 3)) == "ParameterGraph(16 nodes, 52 edges, 4 rows, batch (3,))"
