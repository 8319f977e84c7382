"""The promises of a score."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nasplat.conformance.promises import broken, expect
from nasplat.scoring import NEEDS, PASSES, Score, ScoreResult, score


@dataclass(frozen=True, slots=True)
class ScoreCase:
    """A score on the bench, a network and a batch."""

    entry: Score
    model: nn.Module
    images: Tensor
    labels: Tensor

    def result(self, images: Tensor | None = None, labels: Tensor | None = None) -> ScoreResult:
        """The score's answer, for another batch if one is given."""
        images = self.images if images is None else images
        labels = self.labels if labels is None else labels
        return score(self.model, images, labels, [self.entry])[self.entry.name]


def check_score(
    entry: Score,
    model: nn.Module | None = None,
    images: Tensor | None = None,
    labels: Tensor | None = None,
    *,
    only: str | None = None,
) -> list[str]:
    """The promises that a score breaks on a network and a batch, by default a small convolutional one.

    The promises are the keys of SCORE_PROMISES. images (n, ...), labels (n,) of different classes.
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(8, 3, 8, 8, generator=generator) if images is None else images
    labels = torch.arange(8) % 4 if labels is None else labels
    case = ScoreCase(entry, model or _small_network(), images, labels)
    return broken(SCORE_PROMISES, case, only)


def full_contract(case: ScoreCase) -> None:
    """Name, direction, needs, cost, paper and shares are there and of the known kinds."""
    entry = case.entry
    expect(entry.direction in ("minimize", "maximize"), f"direction is {entry.direction!r}")
    expect(entry.needs <= NEEDS, f"needs are {sorted(entry.needs)}, known are {sorted(NEEDS)}")
    expect(entry.shares <= PASSES.keys(), f"shares are {sorted(entry.shares)}, known are {sorted(PASSES)}")
    for field in ("name", "cost", "paper"):
        expect(bool(getattr(entry, field)), f"{field} is empty")


def clear_answer(case: ScoreCase) -> None:
    """A finite value with finite parts, or a status with its reason."""
    found = case.result()
    if found.status == "ok":
        numbers = {"the value": found.value, **found.per_module}
        endless = [name for name, number in numbers.items() if not math.isfinite(number)]
        expect(not endless, f"not finite: {', '.join(endless)}")
    else:
        expect(found.status == "not_applicable", f"status {found.status}: {found.reason}")
        expect(bool(found.reason), "not applicable, but no reason is given")


def repeatable_answer(case: ScoreCase) -> None:
    """The same seed gives the same numbers."""
    first, again = case.result(), case.result()
    expect(_same(first, again), f"{first.value}, then {again.value}")


def untouched_network(case: ScoreCase) -> None:
    """Weights, buffers, gradients, modes, hooks and the batch stay as they were, and no random draw is moved."""
    model = copy.deepcopy(case.model)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    kept = copy.deepcopy(
        (model.state_dict(), [m.training for m in model.modules()], case.images, case.labels)
    )
    state, hooks = torch.random.get_rng_state(), _hooks(model)
    score(model, case.images, case.labels, [case.entry])
    expect(torch.equal(torch.random.get_rng_state(), state), "the global random state has moved")
    expect(torch.equal(kept[2], case.images) and torch.equal(kept[3], case.labels), "the batch has changed")
    expect(_hooks(model) == hooks, "hooks are left behind")
    expect(kept[1] == [m.training for m in model.modules()], "training modes have changed")
    for name, tensor in model.state_dict().items():
        expect(torch.equal(kept[0][name], tensor), f"{name} has changed")
    for name, parameter in model.named_parameters():
        ones = parameter.grad is not None and bool((parameter.grad == 1).all())
        expect(ones, f"the gradient of {name} has changed")
        expect(parameter.requires_grad, f"{name} no longer takes gradients")


def declared_needs(case: ScoreCase) -> None:
    """What the score does not need does not change it: other images, other labels."""
    first = case.result()
    if "data" not in case.entry.needs:
        other = case.result(images=case.images.flip(0) * 2 + 1)
        expect(_same(first, other), "other images change the score, but needs lacks 'data'")
    if "labels" not in case.entry.needs:
        other = case.result(labels=case.labels.roll(1))
        expect(_same(first, other), "other labels change the score, but needs lacks 'labels'")


def _hooks(model: nn.Module) -> int:
    """How many functions hang on modules and parameters."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    on_modules = sum(len(getattr(module, kind)) for module in model.modules() for kind in kinds)
    return on_modules + sum(len(parameter._backward_hooks or ()) for parameter in model.parameters())


def _same(a: ScoreResult, b: ScoreResult) -> bool:
    value = a.value == b.value or (math.isnan(a.value) and math.isnan(b.value))
    return value and a.status == b.status and a.per_module == b.per_module


def _small_network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 4),
        )


SCORE_PROMISES: dict[str, Callable[[ScoreCase], None]] = {
    "full contract": full_contract,
    "clear answer": clear_answer,
    "repeatable answer": repeatable_answer,
    "untouched network": untouched_network,
    "declared needs": declared_needs,
}
