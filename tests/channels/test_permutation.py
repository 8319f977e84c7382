"""Channels in another order."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nasplat.channels.graph import ParameterGraph
from nasplat.channels.permutation import (
    check_permutation,
    node_permutation,
    permute_edges,
    permute_graph,
    permute_state,
    random_permutation,
)
from nasplat.channels.writing import named_tensors
from nasplat.errors import NasplatError

from .by_hand import MAKERS, chain, made


@pytest.fixture(params=sorted(MAKERS))
def by_hand(request):
    return made(request.param)


@pytest.fixture(name="residual")
def residual_():
    return made("residual")


@pytest.fixture(name="grouped")
def grouped_():
    return made("grouped")


def drawn(spec, seed=0):
    return random_permutation(spec, torch.Generator().manual_seed(seed))


def image(spec):
    size = len(spec.structure.neurons[0])
    return torch.randn(2, size, *(() if spec.structure.blocks[0].axes == 2 else (2, 2)))


def test_permuted_tensors_compute_the_same_function(by_hand) -> None:
    module, spec = by_hand
    x = image(spec) if "grouped.weight" not in spec.structure.shapes else torch.randn(2, 2, 3, 5)
    permuted = permute_state(spec, module.state_dict(), drawn(spec))
    changed = [
        name for name, tensor in permuted.items() if not torch.equal(tensor, module.state_dict()[name])
    ]
    assert len(changed) > len(spec.structure.blocks) // 2
    torch.testing.assert_close(torch.func.functional_call(module, permuted, (x,)), module(x))


def test_tensors_through_slots_equal_the_graph_with_relabelled_nodes(by_hand) -> None:
    module, spec = by_hand
    for seed in range(5):
        order = drawn(spec, seed)
        by_slots = permute_state(spec, named_tensors(module), order)
        by_nodes = permute_graph(
            ParameterGraph(spec.structure, named_tensors(module)), node_permutation(spec, order)
        )
        for name in spec.structure.shapes:
            assert torch.equal(by_slots[name], by_nodes.tensors[name]), name


def test_relabelled_nodes_have_the_same_edges_as_a_list_of_edges_says(by_hand) -> None:
    module, spec = by_hand
    nodes = node_permutation(spec, drawn(spec, 3))

    def listed(graph, name):  # every edge with its ends, one by one
        edges = Counter()
        for block, values in zip(spec.structure.blocks, graph.edges, strict=True):
            for g, o, i in np.ndindex(values.shape[:3]):
                ends = int(name[block.sources[g, i]]), int(name[block.targets[g, o]])
                edges[(*ends, tuple(values[g, o, i].tolist()))] += 1
        for join in spec.structure.joins:
            edges.update(
                (int(name[u]), int(name[v]), join.kind)
                for u, v in zip(join.sources, join.targets, strict=True)
            )
        return edges

    graph = ParameterGraph(spec.structure, named_tensors(module))
    assert listed(permute_graph(graph, nodes), nodes) == listed(graph, np.arange(len(nodes)))


def test_a_permutation_takes_blocks_to_blocks_and_leaves_inputs_and_outputs(grouped) -> None:
    _, spec = grouped
    order = drawn(spec, 1)
    blocks = order[2:5] - 2  # "grouped groups"
    assert sorted(blocks) == [0, 1, 2]
    for start, size in ((5, 2), (11, 2), (17, 3)):
        own = (order[start : start + 3 * size] - start).reshape(3, size)
        assert (own // size == blocks[:, None]).all()
    assert (order[:2] == [0, 1]).all()
    assert (order[-3:] == np.arange(26, 29)).all()


def test_a_permutation_of_a_permutation_is_their_composition(by_hand) -> None:
    module, spec = by_hand
    first, second = drawn(spec, 1), drawn(spec, 2)
    twice = permute_state(spec, permute_state(spec, named_tensors(module), first), second)
    once = permute_state(spec, named_tensors(module), first[second])
    assert all(torch.equal(twice[name], once[name]) for name in once)


@settings(max_examples=10, deadline=None)
@given(widths=st.lists(st.integers(1, 5), min_size=3, max_size=5), seed=st.integers(0, 1000))
def test_a_batch_is_permuted_as_its_members_are(widths, seed) -> None:
    torch.manual_seed(seed)
    module, spec = chain(widths)
    one, two = named_tensors(module), {k: torch.randn_like(v) for k, v in named_tensors(module).items()}
    order = drawn(spec, seed)
    both = permute_state(spec, {name: torch.stack([one[name], two[name]]) for name in one}, order)
    for row, tensors in enumerate((one, two)):
        alone = permute_state(spec, tensors, order)
        assert all(torch.equal(both[name][row], alone[name]) for name in one)


def test_states_of_edges_move_like_weights(residual) -> None:
    module, spec = residual
    nodes = node_permutation(spec, drawn(spec))
    graph = ParameterGraph(spec.structure, named_tensors(module))
    weights = permute_graph(graph, nodes).edges
    for moved, expected in zip(
        permute_edges(spec.structure, [e[..., :1] for e in graph.edges], nodes), weights, strict=True
    ):
        assert torch.equal(moved, expected[..., :1])


def test_what_is_not_a_permutation_of_the_spaces_is_refused(grouped) -> None:
    _, spec = grouped
    order = np.arange(29)
    check_permutation(spec, order)
    with pytest.raises(NasplatError, match="29 channels"):
        check_permutation(spec, order[:-1])
    for swap, name in (((0, 1), "'x'"), ((5, 7), "'first'"), ((2, 3), "'first'"), ((1, 2), "'x'")):
        wrong = order.copy()
        wrong[list(swap)] = wrong[list(swap[::-1])]
        with pytest.raises(NasplatError, match=name):
            check_permutation(spec, wrong)


def test_nodes_that_take_groups_apart_are_refused(grouped) -> None:
    module, spec = grouped
    nodes = np.arange(spec.structure.nodes)
    nodes[[2, 4]] = nodes[[4, 2]]
    with pytest.raises(NasplatError, match="takes the groups of 'grouped"):
        permute_graph(ParameterGraph(spec.structure, named_tensors(module)), nodes)
