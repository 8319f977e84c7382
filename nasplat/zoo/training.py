"""Many networks trained at once: one loop, in which each row goes its own way for its own number of steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import vmap

from nasplat.zoo.optimisers import RowOptimiser
from nasplat.zoo.stack import Stack


@dataclass(frozen=True, slots=True)
class Lessons:
    """What a stack is taught.

    batch: (step, k) -> inputs and targets of the first k networks, (k, n, ...) each. loss: (outputs (n, ...), targets
    (n, ...)) of one network -> scalar. steps: how many updates each network takes, the most first.
    """

    batch: Callable[[int, int], tuple[Tensor, Tensor]]
    loss: Callable[[Tensor, Tensor], Tensor]
    steps: Sequence[int]


def train_stack(stack: Stack, lessons: Lessons, optimiser: RowOptimiser) -> None:
    """Train all networks of a stack in place; those that are done leave, from the end, and are touched no more."""
    if list(lessons.steps) != sorted(lessons.steps, reverse=True):
        raise ValueError(f"steps {list(lessons.steps)}: expected the most first, so that the rest can leave")
    stack.skeleton.train()
    active = len(stack)
    for step in range(lessons.steps[0]):
        while lessons.steps[active - 1] <= step:
            active -= 1
        part = stack.first(active)
        optimiser.step(part.rows, _gradients(part, lessons, step), step)


def _gradients(stack: Stack, lessons: Lessons, step: int) -> Tensor:
    """The gradient of each network's own loss, (k, p): their sum's, since no network enters another's loss."""
    inputs, targets = lessons.batch(step, len(stack))
    rows = stack.rows.detach().requires_grad_()
    with torch.enable_grad():
        losses = vmap(lessons.loss)(stack(inputs, rows), targets)
        (gradients,) = torch.autograd.grad(losses.sum(), rows)
    return gradients


def outputs_of(stack: Stack, inputs: Tensor, batch_size: int = 256) -> Tensor:
    """Outputs (m, n, ...) of all networks for inputs (n, ...) that they share, in eval mode."""
    stack.skeleton.eval()
    with torch.no_grad():
        return torch.cat([stack(part, shared=True) for part in torch.split(inputs, batch_size)], 1)
