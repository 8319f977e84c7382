"""A weight that inherits goes on as its parent would, and on its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from nasplat.supernet.mixtures.inherit import inherit

OPTIMISERS: dict[str, Callable[[list[nn.Parameter]], Optimizer]] = {
    "sgd": lambda weights: SGD(weights, lr=0.1, momentum=0.9),
    "adamw": lambda weights: AdamW(weights, lr=0.1),
}


def step(optimiser: Optimizer, *weights: nn.Parameter) -> None:
    for weight in weights:
        weight.grad = torch.full_like(weight, 0.3)
    optimiser.step()
    optimiser.zero_grad()


@pytest.mark.parametrize("trained_before", [False, True])
@pytest.mark.parametrize("kind", OPTIMISERS)
def test_a_child_takes_the_steps_that_its_parent_takes(kind: str, trained_before: bool) -> None:
    parent, child = (nn.Parameter(torch.full((2,), value)) for value in (1.0, 5.0))
    optimiser = OPTIMISERS[kind]([parent, child])
    step(optimiser, parent)
    if trained_before:
        step(optimiser, child)
        step(optimiser, child)
    inherit(parent, child, optimiser)
    step(optimiser, parent, child)
    assert child.equal(parent)
    step(optimiser, child)
    apart = parent.detach().clone()
    assert not child.equal(apart)
    step(optimiser, parent)
    assert child.equal(parent)  # one step each: neither has moved what the other goes by


def test_a_child_forgets_what_its_parent_never_knew() -> None:
    parent, child = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.ones(2))
    optimiser = OPTIMISERS["sgd"]([parent, child])
    step(optimiser, child)
    inherit(parent, child, optimiser)
    assert child not in optimiser.state
    assert parent not in optimiser.state
