"""The graphs of traced networks: relabelled, listed, written back, told."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from nasplat.channels import parameter_graph
from nasplat.channels.permutation import node_permutation, permute_graph, permute_state, random_permutation
from nasplat.networks import resnet56

from .architectures import ALL
from .conftest import Traced

Trace = Callable[[str], Traced]


@pytest.mark.parametrize("name", ALL)
def test_tensors_through_slots_equal_the_graph_with_relabelled_nodes(name: str, traced: Trace) -> None:
    one = traced(name)
    order = random_permutation(one.spec, torch.Generator().manual_seed(7))
    nodes = node_permutation(one.spec, order)
    by_slots, by_nodes = (
        permute_state(one.spec, one.graph.tensors, order),
        permute_graph(one.graph, nodes).tensors,
    )
    for key in one.spec.structure.shapes:
        assert torch.equal(by_slots[key], by_nodes[key]), key


@pytest.mark.parametrize("name", ALL)
def test_joins_stay_the_same_when_nodes_are_relabelled(name: str, traced: Trace) -> None:
    spec = traced(name).spec
    nodes = node_permutation(spec, random_permutation(spec, torch.Generator().manual_seed(7)))
    for join in spec.structure.joins:
        moved = set(zip(nodes[join.sources], nodes[join.targets], strict=True))
        assert moved == set(zip(join.sources, join.targets, strict=True)), join.kind


@pytest.mark.parametrize("form", ["kernels", "multigraph"])
@pytest.mark.parametrize("name", ALL)
def test_lists_of_edges_give_back_every_tensor(name: str, form: str, traced: Trace) -> None:
    graph = traced(name).graph
    data = graph.to_pyg(form)
    blank = graph.replace(torch.zeros_like(graph.features), [torch.zeros_like(e) for e in graph.edges])
    again = blank.replace_from(data)
    assert all(torch.equal(again.tensors[key], tensor) for key, tensor in graph.tensors.items())
    if form == "kernels":
        assert (data.num_nodes, data.num_edges) == (graph.structure.nodes, graph.structure.edges)


@pytest.mark.parametrize("name", ALL)
def test_the_table_names_every_space_and_the_named_graph_every_row(name: str, traced: Trace) -> None:
    one = traced(name)
    lines = repr(one.spec).splitlines()[2:]
    for space, line in zip(one.spec.spaces, lines, strict=False):
        assert line.startswith(f"  {space.name} ")
        assert space.kind in line
    rows = one.graph.to_networkx(rows=True)
    assert sum(count for *_, count in rows.edges(data="edges")) == one.spec.structure.edges


def test_resnet56_as_a_multigraph_has_an_edge_for_every_parameter_and_shortcut() -> None:
    network = resnet56().eval()
    data = parameter_graph(network, torch.zeros(1, 3, 32, 32)).to_pyg("multigraph")
    assert data.num_edges == 855_770 + 912
    assert data.num_nodes == 2045 + 2 * 57 + 1  # scale and shift of every norm, and the classifier's bias
