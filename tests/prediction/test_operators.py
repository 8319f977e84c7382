"""Networks as graphs of operations: words, features that add up, names that join, and refusals."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.errors import NasplatError
from nasplat.measure import count_macs, count_params
from nasplat.prediction.operators import FEATURES, layer_word, operator_graph
from nasplat.space import ArchGraph

EXAMPLE = torch.zeros(2, 3, 8, 8)


class Branches(nn.Module):
    """A residual block with dropout, a concatenation, pooling by function, and a branch that leads nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4)
        self.deep, self.side = nn.Conv2d(4, 4, 5, 1, 2, groups=4), nn.Conv2d(3, 4, 1)
        self.drop, self.head = nn.Dropout(0.5), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        self.side(x)
        stem = F.relu(self.norm(self.stem(x)))
        both = torch.cat([stem + self.drop(self.deep(stem)), stem], 1)
        return self.head(F.adaptive_avg_pool2d(both, 1).flatten(1))


def sources(graph: ArchGraph, word: str) -> list[str]:
    """The words that feed the only node of a word."""
    node = graph.operations.index(word)
    return [graph.operations[source] for source, target in graph.edges if target == node]


def feature(graph: ArchGraph, name: str) -> list[float]:
    return [row[FEATURES.index(name)] for row in graph.features]


def test_operations_are_linked_as_the_network_computes_them() -> None:
    graph = operator_graph(Branches(), EXAMPLE)
    words = [
        "input",
        "conv3x3",
        "batch_norm",
        "relu",
        "depthwise5x5",
        "add",
        "concat",
        "adaptive_avg_pool",
        "linear",
        "output",
    ]
    assert list(graph.operations) == words
    assert sources(graph, "add") == ["relu", "depthwise5x5"]  # dropout is seen through
    assert sources(graph, "concat") == ["relu", "add"]
    assert sources(graph, "linear") == ["adaptive_avg_pool"]  # so is flatten
    assert list(graph.names) == ["", "stem", "norm", "", "deep", "", "", "", "head", ""]


def test_features_add_up_to_the_size_of_the_network() -> None:
    net = Branches()
    graph = operator_graph(net, EXAMPLE)
    params = sum(math.expm1(value) for value in feature(graph, "log_params"))
    macs = sum(math.expm1(value) for value in feature(graph, "log_macs"))
    assert params == pytest.approx(count_params(net) - count_params(net.side))
    assert macs == pytest.approx(count_macs(net, EXAMPLE) - count_macs(net.side, EXAMPLE))
    assert feature(graph, "log_channels")[1:3] == [math.log(4)] * 2
    assert feature(graph, "log_elements")[:2] == [math.log(3 * 64), math.log(4 * 16)]
    assert feature(graph, "log_stride") == pytest.approx([0, math.log(2), 0, 0, 0, 0, 0, math.log(4), 0, 0])


def test_layers_and_functions_of_one_kind_have_one_word() -> None:
    class Functions(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.max_pool2d(torch.relu(x), 2).add_(1).mean((2, 3))

    layers = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2))
    assert operator_graph(Functions(), EXAMPLE).operations == (
        "input",
        "relu",
        "max_pool",
        "add",
        "mean",
        "output",
    )
    assert operator_graph(layers, EXAMPLE).operations == ("input", "relu", "max_pool", "output")


def test_sizes_are_no_operations_and_results_of_several_tensors_are_seen_through() -> None:
    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            left, right = x.flatten(2).view(x.size(0), x.shape[1], -1).mT.chunk(2, 2)
            attended, _ = self.attention(left, left, left)
            return attended * right

    graph = operator_graph(Attending(), torch.zeros(1, 8, 3, 3))
    assert graph.operations == ("input", "multiheadattention", "mul", "output")
    assert graph.edges == ((0, 1), (0, 2), (1, 2), (2, 3))


@pytest.mark.parametrize(
    ("layer", "word"),
    [
        (nn.Conv2d(4, 8, (1, 3)), "conv1x3"),
        (nn.Conv2d(4, 8, 3, groups=2), "grouped3x3"),
        (nn.ConvTranspose2d(4, 8, 2), "transposed_conv2x2"),
        (nn.Conv1d(4, 4, 7, groups=4), "depthwise7"),
        (nn.GELU(), "gelu"),
        (nn.LayerNorm(4), "layer_norm"),
        (nn.AvgPool2d(2), "avg_pool"),
        (nn.Dropout2d(), "dropout"),
        (nn.Identity(), "identity"),
    ],
)
def test_words_of_layers(layer: nn.Module, word: str) -> None:
    assert layer_word(layer) == word


def test_tracing_leaves_the_module_as_it_was() -> None:
    net = Branches().train()
    before = copy.deepcopy(net.state_dict())
    assert operator_graph(net, EXAMPLE) == operator_graph(net, torch.ones(1, 3, 8, 8))
    assert all(part.training for part in net.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_a_network_whose_output_ignores_its_input_is_its_two_ends() -> None:
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.value = nn.Parameter(torch.zeros(2))

        def forward(self, x: Tensor) -> Tensor:
            return self.value * 2

    graph = operator_graph(Constant(), EXAMPLE)
    assert (graph.operations, graph.edges) == (("input", "output"), ())


def test_a_module_that_cannot_be_traced_is_refused_in_one_line() -> None:
    class Deciding(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(
        NasplatError, match=r"^Deciding cannot be traced by torch.fx \(.*control flow.*\): .*$"
    ):
        operator_graph(Deciding(), EXAMPLE)


def test_what_only_torch_export_traces_has_the_words_of_its_layers() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    graph = operator_graph(layer, torch.zeros(2, 5, 8))
    assert [name for name in graph.names if name] == [
        "self_attn",
        "self_attn.out_proj",
        "norm1",
        "linear1",
        "linear2",
        "norm2",
    ]
    assert graph.operations.count("linear") == 4
    assert graph.operations.count("layer_norm") == graph.operations.count("add") == 2
    params = sum(math.expm1(value) for value in feature(graph, "log_params"))
    assert params == pytest.approx(count_params(layer))


def test_a_convolution_that_torch_export_traces_has_the_word_of_its_layer() -> None:
    class Growing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 3, padding=1, groups=4)

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(x.shape[1] // 2):  # a size that torch.fx does not know
                x = torch.relu(self.conv(x))
            return x

    graph = operator_graph(Growing(), torch.zeros(1, 4, 6, 6))
    assert graph.operations == ("input", "depthwise3x3", "relu", "depthwise3x3", "relu", "output")
    assert graph.names == ("", "conv", "", "conv", "", "")


def test_a_graph_network_is_traced_with_the_edges_of_the_example() -> None:
    from torch_geometric.nn import GCNConv

    class Graphs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = GCNConv(4, 3)

        def forward(self, x: Tensor, edges: Tensor) -> Tensor:
            return torch.relu(self.conv(x, edges))

    graph = operator_graph(Graphs(), (torch.zeros(3, 4), torch.tensor([[0, 1, 2], [1, 2, 0]])))
    assert graph.operations.count("linear") == graph.operations.count("scatter_add") == 1
    assert graph.operations[-2:] == ("relu", "output")
