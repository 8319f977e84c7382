"""What a step minimises, and the teacher it may listen to.

A teacher is asked before the first architecture of a step, with no outputs to look at; as long as it has said
nothing it is asked again after each architecture, with that one's outputs. So a frozen network speaks once a
step, and the first architecture of a step can teach the others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.supernet.divergence import AlphaDivergence

Loss = Callable[[Tensor, Tensor], Tensor]  # (outputs, targets) -> scalar


class Objective(Protocol):
    """The loss of one architecture in one step."""

    def __call__(self, outputs: Tensor, targets: Tensor, teacher: Tensor | None) -> Tensor:
        """A scalar from outputs and targets (n, ...), and what the teacher said of the same inputs, if it did."""
        ...


class Teacher(Protocol):
    """Says what the outputs should look like, or nothing yet."""

    def __call__(self, inputs: Tensor, outputs: Tensor | None) -> Tensor | None:
        """inputs (n, ...); outputs: detached, of the architecture that has just run, None before the first."""
        ...


def label_loss(loss: Loss) -> Objective:
    """The task's own loss; no teacher is heard."""

    def objective(outputs: Tensor, targets: Tensor, teacher: Tensor | None) -> Tensor:
        return loss(outputs, targets)

    return objective


def distillation(loss: Loss, *, alpha: float = 0.5, temperature: float = 1.0) -> Objective:
    """(1 - alpha) * loss + alpha * T^2 * KL(softmax(teacher / T) || softmax(outputs / T)) (arXiv:1503.02531).

    The mean over the batch, and over positions where logits (n, classes, ...) have any. Without a teacher, as for
    the architecture that is the teacher itself, the loss alone. alpha = 1 is the in-place distillation of
    arXiv:1903.05134, which hurts while the teacher is poor.
    """

    def objective(outputs: Tensor, targets: Tensor, teacher: Tensor | None) -> Tensor:
        if teacher is None:
            return loss(outputs, targets)
        wanted = F.log_softmax(teacher / temperature, dim=1)
        given = F.log_softmax(outputs / temperature, dim=1)
        divergence = (wanted.exp() * (wanted - given)).sum(dim=1).mean()
        return (1 - alpha) * loss(outputs, targets) + alpha * temperature**2 * divergence

    return objective


def soft_labels(loss: Loss, *, weight: float = 1.0) -> Objective:
    """loss + weight * CE(softmax(teacher), outputs): labels, and a teacher beside them (arXiv:1908.09791).

    The mean over the batch, and over positions where logits (n, classes, ...) have any. Without a teacher the loss.
    """

    def objective(outputs: Tensor, targets: Tensor, teacher: Tensor | None) -> Tensor:
        if teacher is None:
            return loss(outputs, targets)
        return loss(outputs, targets) + weight * F.cross_entropy(outputs, teacher.softmax(dim=1))

    return objective


def adaptive_alpha(loss: Loss, *, low: float = -1.0, high: float = 1.0, clip: float = 5.0) -> Objective:
    """The larger of two alpha-divergences from the teacher, chosen anew for each sample (AlphaNet, arXiv:2102.07954).

    Of D_low and D_high (`AlphaDivergence`, cut off at `clip`) each sample, and each position where logits
    (n, classes, ...) have any, takes the larger; the mean over all. Its value is that of the divergences, its gradient
    that of their surrogates. Without a teacher, as for the largest architecture itself, the loss.
    """
    first, second = AlphaDivergence(low, clip), AlphaDivergence(high, clip)

    def objective(outputs: Tensor, targets: Tensor, teacher: Tensor | None) -> Tensor:
        if teacher is None:
            return loss(outputs, targets)
        (d_low, s_low), (d_high, s_high) = first(outputs, teacher), second(outputs, teacher)
        value = torch.maximum(d_low, d_high).mean()
        surrogate = torch.where(d_low > d_high, s_low, s_high).mean()
        return value + (surrogate - surrogate.detach())

    return objective


def no_teacher(inputs: Tensor, outputs: Tensor | None) -> Tensor | None:
    """Nobody teaches."""
    return None


def in_place(inputs: Tensor, outputs: Tensor | None) -> Tensor | None:
    """The first architecture of a step teaches the others (arXiv:1903.05134)."""
    return outputs


def frozen(module: nn.Module) -> Teacher:
    """A trained module teaches, in eval mode; it is called as module(inputs) and is on the inputs' device."""
    module.eval()

    def teacher(inputs: Tensor, outputs: Tensor | None) -> Tensor | None:
        with torch.no_grad():
            taught: Tensor = module(inputs)
        return taught

    return teacher
