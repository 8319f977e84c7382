"""What ways of sharing cost, against networks that are really made and trained."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import nasplat as nas
from nasplat.elastic import WeightSource
from nasplat.errors import NasplatError
from nasplat.supernet.mixtures import MIXTURES, make_mixture
from nasplat.supernet.mixtures.cost import sharing_cost, sharing_costs
from nasplat.supernet.recipe import Recipe, make_optimiser

SPACE = nas.load("spaces", "elastic_convnet")(
    input_shape=(1, 8, 8), classes=4, stages=1, depth=[1, 2], width=[2, 4], kernel=[1, 3]
)
assert isinstance(SPACE, nas.ElasticSpace)
DEALT = {"kind": "dealt", "experts": 3}


def supernet(table: dict[str, Any]) -> nn.Module:
    return SPACE.shared(make_mixture(table).apply).supernet()


def counted(net: nn.Module, *parts: str) -> int:
    """Parameters, of all or of those with one of these parts in their name."""
    return sum(
        p.numel() for name, p in net.named_parameters() if any(part in name for part in parts or ("",))
    )


TABLES: list[dict[str, Any]] = [
    {"kind": "slice"},
    DEALT,
    DEALT | {"layers": ["*conv*"]},
    {"kind": "keyed", "choice": "width1"},
    {"kind": "separate"},
    {"kind": "moe", "experts": 3, "per": "neuron"},
    {"kind": "moe", "router": "frozen"},
    {"kind": "moe", "router": "constant"},
    {"kind": "hyper"},
    {"kind": "templates", "share": 0.5},
    {"kind": "tied"},
    {"kind": "split"},
    {"kind": "balanced", "experts": 3},
]


def test_every_kind_is_costed() -> None:
    assert {table["kind"] for table in TABLES} == set(MIXTURES)


@pytest.mark.parametrize("table", TABLES, ids=str)
def test_parameters_are_those_of_the_network_that_is_made(table: dict[str, Any]) -> None:
    cost = sharing_cost(SPACE, make_mixture(table), Recipe())
    net, plain = supernet(table), SPACE.supernet()
    banked = counted(net, ".bank.", "shared_weights.")
    assert cost.parameters == counted(net)
    assert (cost.banks, cost.routers) == (banked, counted(net, ".router.", "sharing."))
    assert cost.ratio == counted(net) / counted(plain)


@pytest.mark.parametrize("table", TABLES, ids=str)
def test_every_kind_trains_with_the_bytes_that_are_told(table: dict[str, Any]) -> None:
    net = supernet(table)
    optimiser = make_optimiser(net, Recipe())
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter) if parameter.requires_grad else None
    optimiser.step()
    trained = sum(p.numel() for p in net.parameters() if p.requires_grad)
    told = sharing_cost(SPACE, make_mixture(table), Recipe()).training_bytes
    assert told == 4 * (counted(net) + 2 * trained)


@pytest.mark.parametrize(
    ("recipe", "copies"),
    [(Recipe(), 3), (Recipe(momentum=0.0), 2), (Recipe(optimiser="adamw", learning_rate=0.001), 4)],
)
def test_bytes_of_a_training_are_those_of_weights_gradients_and_state(recipe: Recipe, copies: int) -> None:
    net = supernet(DEALT)
    optimiser = make_optimiser(net, recipe)
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    assert sharing_cost(SPACE, make_mixture(DEALT), recipe).training_bytes == 4 * copies * counted(net)


def test_nothing_is_allocated_and_no_random_number_moves() -> None:
    before = torch.random.get_rng_state()
    wide = nas.load("spaces", "elastic_convnet")(
        input_shape=(3, 32, 32), classes=10, depth=[1, 2], width=[1024, 2048]
    )
    assert isinstance(wide, nas.ElasticSpace)
    cost = sharing_cost(wide, make_mixture(DEALT | {"experts": 100}), Recipe())
    assert cost.training_bytes > 10 * 2**30  # more than a test may take
    assert torch.random.get_rng_state().equal(before)


@pytest.mark.parametrize("table", TABLES, ids=str)
def test_a_merge_touches_every_number_that_a_real_router_gives_a_coefficient(table: dict[str, Any]) -> None:
    merged = 0
    for source in (module for module in supernet(table).modules() if isinstance(module, WeightSource)):
        used = [c for c in source.router(SPACE.largest()) if isinstance(c, torch.Tensor) or c != 0.0]
        if len(used) > 1 or isinstance(used[0], torch.Tensor):
            merged += len(used) * sum(source.bank.atoms(name)[0].numel() for name in source.bank.slot.tensors)
    assert sharing_cost(SPACE, make_mixture(table), Recipe()).merge_macs == merged


def test_only_what_is_computed_costs_a_merge() -> None:
    frame = sharing_costs(SPACE, TABLES).assign(kind=[table["kind"] for table in TABLES])
    assert set(frame.kind[frame.merge_macs > 0]) == {"moe", "hyper", "templates"}


def test_table_has_a_row_for_each_way_of_sharing() -> None:
    frame = sharing_costs(SPACE, [{"kind": "slice"}, DEALT])
    assert frame["mixture"].tolist() == ["slice", "dealt, experts = 3"]
    assert frame["parameters"].tolist() == [counted(SPACE.supernet()), counted(supernet(DEALT))]
    assert frame["ratio"][0] == 1
    with pytest.raises(NasplatError, match=r"no elastic layer matches 'nothing'"):
        sharing_costs(SPACE, [DEALT | {"layers": ["nothing"]}])


def test_every_kind_says_in_one_line_what_it_is() -> None:
    for kind, mixture in MIXTURES.items():
        line = (mixture.__doc__ or "").split("\n")[0]
        assert line.endswith("."), kind
        assert "(" not in line.split(" ")[0], kind  # a dataclass without a docstring gets its signature
