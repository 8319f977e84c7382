"""The families of a zoo as graphs of parameters."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nasplat.channels import channel_spec, parameter_graph
from nasplat.zoo import FAMILIES, Form, Group, SirenForm, places
from nasplat.zoo.stack import stack_modules

FORMS = {
    **{name: Form(name, (1, 8, 8), 10, f.widths[0], f.depths[-1], "gelu") for name, f in FAMILIES.items()},
    "siren": SirenForm(8, 2, 10.0),
}


def example(name: str) -> Tensor:
    return places(4, 4) if name == "siren" else torch.zeros(2, 1, 8, 8)


@pytest.mark.parametrize("name", FORMS)
def test_every_family_traces_with_nothing_frozen(name: str) -> None:
    assert channel_spec(FORMS[name].make(), example(name)).frozen == ()


@pytest.mark.parametrize("name", FORMS)
def test_the_graph_of_a_group_holds_the_graph_of_each_network(name: str) -> None:
    modules = [FORMS[name].make() for _ in range(3)]
    graphs = [parameter_graph(module, example(name)) for module in modules]
    group = Group(name, {}, FORMS[name].make, stack_modules(modules).state(), ({}, {}, {}))
    whole = group.graph(example(name))
    assert whole.batch == (3,)
    for k, graph in enumerate(graphs):
        assert whole.features[k].equal(graph.features)
        for together, single in zip(whole.edges, graph.edges, strict=True):
            assert together[k].equal(single)


def test_modules_stay_as_they_are_when_they_are_stacked() -> None:
    modules = [FORMS["norm"].make() for _ in range(2)]
    stack = stack_modules(modules)
    stack.rows.zero_()
    for module in modules:
        assert all(p.device.type == "cpu" for p in module.parameters())
        assert any(p.any() for p in module.parameters())
