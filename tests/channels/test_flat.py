"""Graphs as lists of edges, and as named graphs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch_geometric.data import Batch, Data

from nasplat.channels.flat import KernelGrid
from nasplat.channels.graph import ParameterGraph
from nasplat.channels.permutation import node_permutation, permute_graph, random_permutation
from nasplat.channels.stacking import stack_graphs
from nasplat.channels.structure import JOINS
from nasplat.channels.vocabulary import ACTIVATIONS, EDGE_KINDS, KINDS, NODE_KINDS
from nasplat.channels.writing import named_tensors
from nasplat.errors import NasplatError

from .by_hand import MAKERS, chain, made


@pytest.fixture(params=sorted(MAKERS))
def by_hand(request):
    return made(request.param)


@pytest.fixture(name="residual")
def residual_():
    return made("residual")


FORMS = ["kernels", "multigraph"]


@pytest.fixture
def graph(by_hand):
    module, spec = by_hand
    return ParameterGraph(spec.structure, named_tensors(module))


@pytest.fixture
def small(residual):
    module, spec = residual
    return ParameterGraph(spec.structure, named_tensors(module))


@pytest.mark.parametrize("form", FORMS)
def test_lists_of_edges_give_back_every_tensor_exactly(graph, form) -> None:
    other = graph.replace(torch.zeros_like(graph.features), [torch.zeros_like(e) for e in graph.edges])
    again = other.replace_from(graph.to_pyg(form))
    for name in graph.structure.shapes:
        assert torch.equal(again.tensors[name], graph.tensors[name]), name


@pytest.mark.parametrize("form", FORMS)
def test_gradients_flow_through_lists_of_edges_to_the_same_places(graph, form) -> None:
    data = graph.to_pyg(form)
    data.x.requires_grad_()
    data.edge_attr.requires_grad_()
    goals = {name: torch.randn(shape) for name, shape in graph.structure.shapes.items()}
    changed = graph.replace_from(data).tensors
    torch.stack([(goals[name] * tensor).sum() for name, tensor in changed.items()]).sum().backward()
    found = Data(x=data.x.grad, edge_attr=data.edge_attr.grad, edge_index=data.edge_index)
    if form == "multigraph":
        found.edge_place = data.edge_place
    gradients = graph.replace_from(found).tensors
    for part in (*graph.structure.blocks, *graph.structure.vectors):
        torch.testing.assert_close(gradients[part.parameter], goals[part.parameter])


def test_a_flat_edge_holds_its_kernel_in_the_middle_of_the_grid(small, residual) -> None:
    module, _ = residual
    data = small.to_pyg()
    assert data.edge_attr.shape == (12 + 16 + 20 + 4, 9)
    assert data.num_nodes == 16
    edge = int(((data.edge_index[0] == 1) & (data.edge_index[1] == 3 + 2)).nonzero())
    assert torch.equal(data.edge_attr[edge], module.conv1.weight[2, 1].flatten())
    edge = int(((data.edge_index[0] == 7 + 3) & (data.edge_index[1] == 11 + 4)).nonzero())
    expected = torch.zeros(9)
    expected[2:6] = module.fc.weight.view(5, 4, 4)[4, 3]  # the places of a flattened map
    assert torch.equal(data.edge_attr[edge], expected)


def test_joins_are_typed_edges_of_weight_one_in_the_middle(small) -> None:
    data = small.to_pyg()
    joins = data.edge_type == 1 + EDGE_KINDS.index("sum")
    assert torch.equal(data.edge_index[:, joins], torch.stack((torch.arange(3, 7), torch.arange(7, 11))))
    assert torch.equal(data.edge_attr[joins], torch.eye(9)[4].expand(4, -1))


def test_nodes_say_their_kind_activation_row_and_place(small) -> None:
    data = small.to_pyg()
    assert [NODE_KINDS[k - 1] for k in data.kind.tolist()] == ["input"] * 3 + ["conv"] * 8 + ["linear"] * 5
    assert [ACTIVATIONS[k - 1] for k in data.activation.tolist()] == [""] * 3 + ["relu"] * 8 + [""] * 5
    assert data.row.tolist() == data.depth.tolist() == [0] * 3 + [1] * 4 + [2] * 4 + [3] * 5
    assert data.position.tolist() == [0, 1, 2] + [-1] * 8 + [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("kernel", "grid", "places"),
    [
        ((), KernelGrid((3, 3), 9), [4]),
        ((1, 1), KernelGrid((7, 7), 49), [24]),
        ((3, 3), KernelGrid((5, 5), 25), [6, 7, 8, 11, 12, 13, 16, 17, 18]),
        ((3, 3), KernelGrid((3, 3), 16), list(range(4, 13))),
        ((16,), KernelGrid((3, 3), 16), list(range(16))),
        ((2, 2), KernelGrid((3, 3), 9), [0, 1, 3, 4]),
        ((4,), KernelGrid((3, 3), 9), [2, 3, 4, 5]),
        ((2,), KernelGrid((4,), 4), [1, 2]),
        ((), KernelGrid((), 1), [0]),
    ],
)
def test_kernels_lie_middle_on_middle(kernel, grid, places) -> None:
    assert grid.places(kernel).tolist() == places


def test_every_parameter_is_one_edge_of_the_multigraph(small, residual) -> None:
    module, _ = residual
    data = small.to_pyg("multigraph")
    assert data.num_edges == sum(p.numel() for p in module.parameters()) + 4
    parameters = torch.cat([p.detach().flatten() for p in module.parameters()] + [torch.ones(4)])
    assert torch.equal(data.edge_attr[:, 0].sort().values, parameters.sort().values)
    assert data.num_nodes == 16 + 6  # two biases, and scale and shift of two norms
    bias = data.edge_type == 1 + EDGE_KINDS.index("bias")
    assert torch.equal(data.edge_attr[bias, 0], torch.cat([module.conv1.bias, module.fc.bias]))
    assert data.edge_index[1, bias].tolist() == [3, 4, 5, 6, 11, 12, 13, 14, 15]
    assert torch.equal(data.x[7:11, 0], module.bn2.running_mean)


def test_parallel_edges_of_the_multigraph_have_their_place_in_the_kernel(small, residual) -> None:
    module, _ = residual
    data = small.to_pyg("multigraph")
    parallel = (data.edge_index[0] == 2) & (data.edge_index[1] == 3 + 1)
    places = data.edge_place[parallel]
    assert places[:, 0].eq(0).all()
    for value, (y, x) in zip(data.edge_attr[parallel, 0], places[:, 1:].tolist(), strict=True):
        assert value == module.conv1.weight[1, 2, y + 1, x + 1]
    assert len(places) == 9


def test_permuting_channels_relabels_the_nodes_of_the_list(residual) -> None:
    module, spec = residual
    graph = ParameterGraph(spec.structure, named_tensors(module))
    nodes = node_permutation(spec, random_permutation(spec, torch.Generator().manual_seed(5)))
    before, after = graph.to_pyg(), permute_graph(graph, nodes).to_pyg()
    index = torch.from_numpy(nodes)
    assert not torch.equal(after.x, before.x)
    assert torch.equal(after.x, before.x[index])

    def listed(data, name):
        rows = torch.cat(
            [name[data.edge_index].T, data.edge_type[:, None], data.edge_attr.view(torch.int32)], 1
        )
        return sorted(map(tuple, rows.tolist()))

    assert listed(after, index) == listed(before, torch.arange(16))


@pytest.mark.parametrize("form", FORMS)
def test_lists_of_other_networks_make_one_batch(small, form) -> None:
    graphs = [small, small]
    batch = Batch.from_data_list([g.to_pyg(form) for g in graphs])
    first = batch.get_example(1)
    assert all(torch.equal(small.replace_from(first).tensors[n], t) for n, t in small.tensors.items())


@pytest.mark.parametrize("form", FORMS)
def test_data_in_another_order_or_of_another_network_is_refused(small, form) -> None:
    data = small.to_pyg(form)
    turned = data.clone()
    turned.edge_index = data.edge_index.flip(1)
    with pytest.raises(NasplatError, match="another order"):
        small.replace_from(turned)
    module, spec = chain([2, 3])
    with pytest.raises(NasplatError, match="the graph has"):
        small.replace_from(ParameterGraph(spec.structure, named_tensors(module)).to_pyg(form))
    with pytest.raises(NasplatError, match="unstack_graphs"):
        stack_graphs([small, small]).to_pyg(form)


def test_words_have_one_number_each() -> None:
    for words in (KINDS, NODE_KINDS, EDGE_KINDS, ACTIVATIONS):
        assert len(set(words)) == len(words)
    assert set(JOINS) <= set(EDGE_KINDS)


def test_a_named_graph_holds_every_neuron_and_weight(small, residual) -> None:
    module, _ = residual
    named = small.to_networkx()
    assert (named.number_of_nodes(), named.number_of_edges()) == (
        small.structure.nodes,
        small.structure.edges,
    )
    node = named.nodes[3 + 2]
    assert (node["row"], node["channel"], node["activation"]) == ("conv1", 2, "relu")
    assert node["bias"] == module.conv1.bias[2].item()
    assert node["variance"] == module.bn1.running_var[2].item()
    assert "bias" not in named.nodes[0]
    assert named.edges[4, 9, "conv2.weight"]["weight"] == module.conv2.weight[2, 1].flatten().tolist()
    assert named.edges[4, 8, "sum"] == {"kind": "sum", "weight": 1.0}


def test_a_graph_too_large_to_read_is_refused_with_the_way_out(small, monkeypatch) -> None:
    monkeypatch.setattr("nasplat.channels.readable.LIMIT", 51)
    with pytest.raises(NasplatError, match="rows=True"):
        small.to_networkx()
    assert small.to_networkx(rows=True).number_of_nodes() == 4


def test_rows_of_a_large_graph_keep_the_counts_of_edges(graph) -> None:
    named = graph.to_networkx(rows=True)
    assert list(named) == [row.name for row in graph.structure.neurons]
    assert sum(size for _, size in named.nodes(data="size")) == graph.structure.nodes
    assert sum(count for *_, count in named.edges(data="edges")) == graph.structure.edges


def test_a_block_that_reads_two_rows_is_an_edge_from_each() -> None:
    from nasplat.channels.readable import _pairs

    sources, targets = np.array([[0, 1, 2], [1, 2, 3]]), np.array([[4, 5], [5, 6]])
    assert _pairs(np.array([0, 2, 4]), sources, targets) == [(0, 2, 6), (1, 2, 6)]
