"""Masks that hold while a network is trained."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from nasplat import load_data, train_network
from nasplat.errors import NasplatError
from nasplat.prune.sparse import hold_masks, plan_masks
from nasplat.supernet import Recipe

OPTIMISERS: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    "sgd": lambda net: torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adamw": lambda net: torch.optim.AdamW(net.parameters(), 0.1),
    "adagrad": lambda net: torch.optim.Adagrad(net.parameters(), 0.1),
}


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))


def step(net: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    optimiser.zero_grad()
    net(torch.randn(4, 8)).square().sum().backward()
    optimiser.step()


@pytest.mark.parametrize("name", OPTIMISERS)
def test_zeros_hold_though_the_optimiser_remembers_dense_gradients(name: str) -> None:
    net = network()
    optimiser = OPTIMISERS[name](net)
    for _ in range(3):
        step(net, optimiser)
    plan = plan_masks(net, 0.3)
    kept = net[0].weight.detach().clone()[plan.masks(net)["0.weight"]]  # type: ignore[index]
    with plan.hold(net):
        for _ in range(3):
            step(net, optimiser)
            assert plan.holds(net)
    assert not torch.equal(net[0].weight[plan.masks(net)["0.weight"]], kept)  # type: ignore[index]


def test_gradients_of_masked_weights_are_zero_and_others_are_as_without_masks() -> None:
    net = network()
    plan = plan_masks(net, 0.3)
    masked, x = plan.apply(net), torch.randn(4, 8)
    masked(x).square().sum().backward()
    with plan.hold(net):
        net(x).square().sum().backward()
        for name, mask in plan.masks(net).items():
            torch.testing.assert_close(
                net.get_parameter(name).grad,
                masked.get_parameter(name).grad * mask,  # type: ignore[operator]
            )


def test_released_weights_may_move_again() -> None:
    net = network()
    optimiser, plan = OPTIMISERS["sgd"](net), plan_masks(net, 0.3)
    plan.hold(net).remove()
    assert plan.holds(net)
    step(net, optimiser)
    assert not plan.holds(net)


def test_masks_hold_in_a_training_that_makes_its_own_optimiser() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    plan = plan_masks(net, 0.2)
    with plan.hold(net):
        train_network(net, load_data("digits"), Recipe(epochs=1, optimiser="adamw", learning_rate=0.01))
    assert plan.holds(net)


def test_frozen_weights_are_masked_too() -> None:
    net = network()
    net[0].requires_grad_(False)  # type: ignore[index]
    plan, optimiser = plan_masks(net, 0.3), OPTIMISERS["adamw"](net)
    with plan.hold(net):
        step(net, optimiser)
    assert plan.holds(net)


@pytest.mark.parametrize(
    ("masks", "line"),
    [
        (
            {"0.wight": torch.ones(16, 8, dtype=torch.bool)},
            "a mask is for '0.wight': did you mean '0.weight'",
        ),
        (
            {"0.weight": torch.ones(8, dtype=torch.bool)},
            r"is torch.bool \(8,\): expected torch.bool \(16, 8\)",
        ),
        ({"0.weight": torch.ones(16, 8)}, r"is torch.float32 \(16, 8\): expected torch.bool"),
    ],
)
def test_masks_of_another_network_are_refused(masks: dict[str, torch.Tensor], line: str) -> None:
    with pytest.raises(NasplatError, match=line):
        hold_masks(network(), masks)
