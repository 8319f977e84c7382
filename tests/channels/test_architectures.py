"""Every architecture as channels and as a graph: what may be permuted, and that nothing is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from nasplat.channels import ParameterGraph, channel_spec, parameter_graph
from nasplat.channels.permutation import permute_state, random_permutation
from nasplat.channels.spec import ChannelSpec
from nasplat.networks import resnet20, resnet50, resnet56, vgg19_bn

from .architectures import ALL, Size
from .conftest import Traced

Trace = Callable[[str], Traced]


def hidden(spec: ChannelSpec) -> list[Size]:
    """The sizes of hidden spaces, with the number of blocks where their channels form some."""
    parents = {space.parent for space in spec.spaces}
    own = [s for number, s in enumerate(spec.spaces) if s.kind == "hidden" and number not in parents]
    return [s.size if s.parent is None else (s.size, spec.spaces[s.parent].size) for s in own]


def with_state(network: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    """A copy with other numbers; of tensors with two names, one is in the state."""
    other = deepcopy(network)
    assert other.load_state_dict(state, strict=False).unexpected_keys == []
    return other


def returned(graph: ParameterGraph) -> dict[str, Tensor]:
    """Its tensors, made again from features and edges alone; the rest as it is."""
    rest = graph.structure.rest
    blank = {name: t if name in rest else torch.zeros_like(t) for name, t in graph.tensors.items()}
    return dict(ParameterGraph(graph.structure, blank).replace(graph.features, graph.edges).tensors)


@pytest.mark.parametrize("name", ALL)
def test_the_hidden_spaces_are_those_of_the_definition(name: str, traced: Trace) -> None:
    assert Counter(hidden(traced(name).spec)) == Counter(ALL[name].hidden)


@pytest.mark.parametrize("name", ALL)
def test_what_is_frozen_has_a_reason(name: str, traced: Trace) -> None:
    spec = traced(name).spec
    assert all(space.reason for space in spec.spaces if space.kind == "frozen")
    assert all(one.reason and one.node and one.operation for one in spec.frozen)


@pytest.mark.parametrize("name", ALL)
def test_permuted_channels_compute_the_same_function(name: str, traced: Trace) -> None:
    one = traced(name)
    wanted = one.network(*one.example)
    state = one.graph.tensors
    for seed in range(3):
        permutation = random_permutation(one.spec, torch.Generator().manual_seed(seed))
        permuted = permute_state(one.spec, state, permutation)
        assert any(not torch.equal(permuted[key], state[key]) for key in state)
        got = with_state(one.network, permuted)(*one.example)
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)


def test_a_graph_is_its_structure_and_the_tensors_of_the_module(traced: Trace) -> None:
    network, example = ALL["resnet8"].network(), ALL["resnet8"].example()
    graph = parameter_graph(network, example[0])
    assert graph.structure.shapes == traced("resnet8").spec.structure.shapes
    for key, tensor in network.state_dict().items():
        assert graph.tensors[key].data_ptr() == tensor.data_ptr()


def test_permuted_channels_compute_the_same_function_in_single_precision(traced: Trace) -> None:
    one = traced("resnet8")
    network, example = deepcopy(one.network).float(), one.example[0].float()
    spec = channel_spec(network, (example,))
    permutation = random_permutation(spec, torch.Generator().manual_seed(0))
    permuted = with_state(network, permute_state(spec, network.state_dict(), permutation))
    torch.testing.assert_close(permuted(example), network(example), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("parameter", ["layer2.0.conv1.weight", "layer2.0.bn1.running_mean", "fc.weight"])
def test_the_function_changes_where_one_tensor_is_not_permuted(parameter: str, traced: Trace) -> None:
    one = traced("resnet8")
    state = one.network.state_dict()
    permutation = random_permutation(one.spec, torch.Generator().manual_seed(1))
    partly = permute_state(one.spec, state, permutation) | {parameter: state[parameter]}
    assert not torch.allclose(with_state(one.network, partly)(*one.example), one.network(*one.example))


@pytest.mark.parametrize("name", ALL)
def test_features_and_edges_hold_every_tensor_bit_for_bit(name: str, traced: Trace) -> None:
    one = traced(name)
    blank = with_state(one.network, {key: torch.zeros_like(t) for key, t in one.network.state_dict().items()})
    state, back = one.network.state_dict(), with_state(blank, returned(one.graph)).state_dict()
    assert [key for key in state if not torch.equal(back[key], state[key])] == []


@pytest.mark.parametrize("name", ALL)
def test_numbers_written_into_the_graph_are_those_of_the_network_behind(name: str, traced: Trace) -> None:
    """Also where tensors share their numbers."""
    one = traced(name)
    edges, features = [edge + 0.5 for edge in one.graph.edges], one.graph.features + 0.25
    written = with_state(one.network, one.graph.replace(features, edges).tensors)
    state = written.state_dict()
    read = ParameterGraph(one.graph.structure, {key: state[key] for key in one.graph.tensors})
    assert all(torch.equal(got, wanted) for got, wanted in zip(read.edges, edges, strict=True))
    for vector in read.structure.vectors:
        assert torch.equal(
            read.features[vector.nodes, vector.feature], features[vector.nodes, vector.feature]
        )


@pytest.mark.parametrize("name", ALL)
def test_only_tensors_without_channels_stay_outside_of_the_graph(name: str, traced: Trace) -> None:
    structure = traced(name).graph.structure
    numbers = {key for key, shape in structure.shapes.items() if shape in ((), (1,))}
    weights_of_a_mixture = {"alpha"}
    behind_a_branch_that_did_not_run = {"aux.weight", "aux.bias"}
    assert set(structure.rest) <= numbers | weights_of_a_mixture | behind_a_branch_that_did_not_run


@pytest.mark.parametrize("name", ALL)
def test_the_numbers_of_a_graph_are_those_of_its_parameters(name: str, traced: Trace) -> None:
    """Blocks and vectors cover all elements of their tensors once."""
    structure = traced(name).graph.structure
    for block in structure.blocks:
        g, o, i, k = block.shape
        assert g * o * i * k == torch.Size(structure.shapes[block.parameter]).numel()
    held = Counter(key for key in (block.parameter for block in structure.blocks))
    for vector in structure.vectors:
        held[vector.parameter] += 1
        assert len(vector.nodes) <= torch.Size(structure.shapes[vector.parameter]).numel()
    assert set(held) | set(structure.rest) == set(structure.shapes)
    assert set(held).isdisjoint(structure.rest)


def test_a_branch_that_did_not_run_is_listed(traced: Trace) -> None:
    """Its channels are those of others, in an unknown way: no permutation of them is sure to keep the other mode."""
    frozen = traced("only_in_training").spec.frozen
    assert any("aux" in one.node or "aux" in one.reason for one in frozen)


@pytest.mark.parametrize(
    ("factory", "pixels", "nodes", "edges", "shortcuts"),
    [
        # 701 = 3 + 16 + 6 * (16 + 32 + 64) + 10; stem and stages, shortcuts, classifier, identities
        (resnet20, 8, 701, 48 + 6 * 256 + 512 + 5 * 1024 + 2048 + 5 * 4096 + 512 + 2048 + 640 + 240, 240),
        (resnet56, 8, 2045, 98_368, 9 * 16 + 8 * (32 + 64)),
        (partial(vgg19_bn, classes=100), 16, 5607, 2_275_520, 0),
        # 192 edges of 49 numbers, 1,257,472 of 9, 14,176,256 of one, and the identities
        (resnet50, 32, 23_723, 15_445_184, 2 * 256 + 3 * 512 + 5 * 1024 + 2 * 2048),
    ],
)
def test_published_networks_have_their_nodes_and_edges_and_come_back(
    factory: Callable[[], nn.Module], pixels: int, nodes: int, edges: int, shortcuts: int
) -> None:
    network = factory().eval()
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_()
    graph = parameter_graph(network, torch.zeros(1, 3, pixels, pixels))
    assert (graph.structure.nodes, graph.structure.edges) == (nodes, edges)
    assert sum(len(join.sources) for join in graph.structure.joins if join.kind == "sum") == shortcuts
    assert {join.kind for join in graph.structure.joins} <= {"sum"}
    own = {tensor.untyped_storage().data_ptr() for tensor in network.state_dict().values()}
    assert {edge.untyped_storage().data_ptr() for edge in graph.edges} <= own  # views, nothing is copied
    back = returned(graph)
    assert all(torch.equal(back[key], tensor) for key, tensor in network.state_dict().items())
