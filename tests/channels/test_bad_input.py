"""What cannot be used is refused in one plain line that says what to do, and nothing else is printed."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nasplat.channels import ParameterGraph, channel_spec, parameter_graph, stack_graphs
from nasplat.channels.rules import FUNCTIONS, MODULES
from nasplat.channels.values import along
from nasplat.errors import NasplatError


class Net(nn.Module):
    """Two layers, and a function of what the first gives before the second."""

    def __init__(self, between: Callable[[Tensor], Tensor] = torch.relu) -> None:
        super().__init__()
        self.a, self.b, self.between = nn.Linear(4, 8), nn.Linear(8, 3), between

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.b(self.between(self.a(x)))
        return result


def branches(x: Tensor) -> Tensor:
    if x.sum() > 0:
        return -x
    return x


def counts(x: Tensor) -> Tensor:
    return x * int(x.sum().item())


def leaves_torch(x: Tensor) -> Tensor:
    return torch.from_numpy(x.detach().numpy())


class PicksRows(Net):
    def forward(self, x: Tensor) -> Tensor:
        return x[x.sum(1) > 0]


UNTRACEABLE = {
    branches: "if x.sum() > 0:",
    counts: "return x * int(x.sum().item())",
    leaves_torch: "return torch.from_numpy(x.detach().numpy())",
}


def refused(act: Callable[[], object]) -> str:
    """The one line of an error."""
    with pytest.raises(NasplatError) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("between", UNTRACEABLE, ids=lambda function: function.__name__)
def test_a_module_that_does_not_trace_is_refused_with_its_line(
    between: Callable[[Tensor], Tensor], capfd: pytest.CaptureFixture[str]
) -> None:
    line = refused(lambda: channel_spec(Net(between), torch.ones(2, 4)))
    number = between.__code__.co_firstlineno + 1
    assert line.startswith(f"Net cannot be traced at test_bad_input.py:{number}: `{UNTRACEABLE[between]}` (")
    assert "torch.fx: " in line
    assert "torch.export: " in line
    assert line.endswith("write it without decisions by the values of tensors, or trace the parts around it")
    assert capfd.readouterr() == ("", "")


def test_a_line_that_torch_export_follows_and_channels_cannot_is_told() -> None:
    line = refused(lambda: channel_spec(PicksRows(), torch.ones(2, 4)))
    assert re.match(
        r"PicksRows cannot be traced at test_bad_input.py:\d+: `return x\[x.sum\(1\) > 0\]` \(", line
    )


EXAMPLES: list[tuple[Any, str]] = [
    (torch.zeros(2, 5), r"does not take an example of shape \(2, 5\): .*2x5 and 4x8"),
    (torch.zeros(()), r"does not take an example of shape \(\): "),
    (torch.zeros(0, 4), r"shape \(0, 4\) is empty; give at least one input"),
    ([torch.zeros(2, 4)] * 2, r"does not take 2 inputs: too many .*; give one tensor for each"),
    ([], r"does not take 0 inputs: missing .*; give one tensor for each"),
    ((2, 4), r"made of tensors, not of int; give a batch such as torch.zeros"),
    ({"x": torch.zeros(2, 4)}, r"made of tensors, not of dict"),
    (torch.zeros(2, 4).numpy(), r"made of tensors, not of ndarray"),
    ("x", r"made of tensors, not of str"),
]


@pytest.mark.parametrize(("example", "said"), EXAMPLES)
def test_an_example_that_does_not_fit_is_told_as_such(
    example: Tensor | Sequence[Tensor], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert re.search(said, refused(lambda: parameter_graph(Net(), example)))
    assert capfd.readouterr() == ("", "")


def test_what_is_no_network_yet_is_refused() -> None:
    x = torch.zeros(2, 4)
    assert "Net is not a torch.nn.Module" in refused(lambda: channel_spec(Net, x))  # type: ignore[arg-type]
    scripted = torch.jit.ScriptModule()
    assert "give the network itself" in refused(lambda: channel_spec(scripted, x))
    lazy = nn.Sequential(nn.Linear(4, 8), nn.LazyLinear(3))
    assert refused(lambda: channel_spec(lazy, x)).startswith("1.weight of Sequential has no shape yet; call")
    lazy(x)
    assert len(channel_spec(lazy, x).spaces) == 3


def test_a_refused_module_stays_as_it_was() -> None:
    network = Net(branches).train()
    network.a.eval()
    refused(lambda: channel_spec(network, torch.ones(2, 4)))
    assert (network.training, network.a.training, network.b.training) == (True, False, True)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(number: float) -> None:
    network = Net()
    with torch.no_grad():
        network.b.weight[1, 2] = number
    line = refused(lambda: parameter_graph(network, torch.zeros(2, 4)))
    assert line == "1 of the 24 numbers of 'b.weight' are not finite; give finite weights"


class Wider(Net):
    def __init__(self) -> None:
        super().__init__()
        self.b = nn.Linear(8, 5)


class Deeper(Net):
    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Linear(3, 3)


@pytest.fixture
def graph() -> ParameterGraph:
    return parameter_graph(Net(), torch.zeros(2, 4))


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (
            Wider(),
            "of this Wider: it has 'b.weight' of shape (3, 8), the module has 'b.weight' of shape (5, 8);",
        ),
        (Deeper(), "of this Deeper: it has no 'c.weight', the module has 'c.weight' of shape (3, 3);"),
        (nn.Linear(4, 8), "of this Linear: it has 'a.weight' of shape (8, 4), the module has no 'a.weight';"),
    ],
)
def test_a_graph_is_neither_written_to_another_module_nor_run_in_one(
    graph: ParameterGraph, other: nn.Module, said: str
) -> None:
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    for act in (lambda: graph.write_back(other), lambda: graph.functional(other, torch.zeros(2, 4))):
        line = refused(act)
        assert said in line
        assert line.endswith("take the module it came from, or one of the same form")
    assert all(torch.equal(before[name], tensor) for name, tensor in other.state_dict().items())


def test_nothing_is_written_of_a_graph_with_nan_or_of_a_batch(graph: ParameterGraph) -> None:
    network = Net()
    before = network.a.weight.clone()
    edges = [graph.edges[0], graph.edges[1] * float("nan")]
    line = refused(lambda: graph.replace(graph.features, edges).write_back(network))
    assert line == "24 of the 24 numbers of 'b.weight' are not finite; give finite weights"
    assert "take one of `unstack_graphs(graph)`" in refused(
        lambda: stack_graphs([graph, graph]).write_back(network)
    )
    assert torch.equal(network.a.weight, before)


def test_features_and_edges_of_other_sizes_are_refused(graph: ParameterGraph) -> None:
    line = refused(lambda: graph.replace(graph.features[:-1], graph.edges))
    assert line == "features end in (14, 10), those of this graph in (15, 10); give such as `graph.features`"
    line = refused(lambda: graph.replace(graph.features, graph.edges[:1]))
    assert line.startswith("edges[1] end in nothing, those of this graph in (1, 3, 8, 1)")
    assert "did you mean 'multigraph'?" in refused(lambda: graph.to_pyg("multigraf"))  # type: ignore[arg-type]


def test_a_mistake_of_the_rules_is_not_told_as_one_of_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def mistaken(run: object, call: object) -> None:
        along(None, 0)  # type: ignore[arg-type]

    monkeypatch.setitem(MODULES, "Linear", mistaken)
    monkeypatch.setitem(FUNCTIONS, "linear", mistaken)
    with pytest.raises(NasplatError, match="a mistake in nasplat, not in the network: please report it"):
        channel_spec(nn.Linear(2, 3), torch.zeros(1, 2))
