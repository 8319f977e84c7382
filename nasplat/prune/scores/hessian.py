"""Second-order estimate of what the loss does without a channel: optimal brain damage (LeCun et al., 1989)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from nasplat.errors import NasplatError, expected_one_of
from nasplat.prune.scores.evidence import Evidence
from nasplat.prune.scores.gradients import Slopes, slopes, trained_slots
from nasplat.prune.scores.members import check_words, importance, summed

ESTIMATES = ("fisher", "hutchinson")


@dataclass(frozen=True, slots=True)
class Hessian:
    """Half the sum of h w^2 over each member of a channel, h the diagonal of the loss' Hessian at a weight w.

    estimate "fisher": h is the mean of squared gradients of batches, the empirical Fisher where batches are single
    examples: cheap, never negative. "hutchinson": h = E[z * Hz], z random signs, `samples` draws for each batch, of the
    true Hessian, so that importances may be negative; exact where the Hessian is diagonal.
    """

    estimate: str = "fisher"
    samples: int = 4
    reduction: str = "sum"
    normaliser: str = "none"
    kinds: tuple[str, ...] = ("weight", "scale")

    def __post_init__(self) -> None:
        check_words(self.kinds, self.reduction, self.normaliser)
        if self.estimate not in ESTIMATES:
            raise NasplatError(
                f"no estimate {self.estimate!r} of a Hessian; {expected_one_of(self.estimate, ESTIMATES)}"
            )

    def __call__(self, evidence: Evidence) -> Tensor:
        """Importance (channels,). Cost for each batch: a forward and a backward pass, and with "hutchinson"
        `samples` backward passes through both. NasplatError without `loss`.
        """
        slots = trained_slots(evidence, self.kinds)
        names = sorted({slot.parameter for slot in slots})
        generator = torch.Generator().manual_seed(evidence.seed)
        count = 0
        total = dict.fromkeys(names, torch.zeros(()))
        for batch in slopes(evidence, "hessian", twice=self.estimate == "hutchinson"):
            for diagonal in self._diagonals(batch, names, generator):
                for name, one in zip(names, diagonal, strict=True):
                    total[name] = total[name] + one * batch.weights[name].detach() ** 2 / 2
                count += 1
        saliency = {name: one / count for name, one in total.items()}
        members = summed(evidence.spec, slots, saliency)
        return importance(evidence.spec, members, self.reduction, self.normaliser)

    def _diagonals(
        self, batch: Slopes, names: list[str], generator: torch.Generator
    ) -> Iterator[list[Tensor]]:
        """Estimates of the diagonal, each with one tensor for each name."""
        if self.estimate == "fisher":
            yield [batch.gradients[name] ** 2 for name in names]
            return
        weights = [batch.weights[name] for name in names]
        for _ in range(self.samples):
            signs = [_signs(weight, generator) for weight in weights]
            yield _products([batch.gradients[name] for name in names], weights, signs)


def _signs(like: Tensor, generator: torch.Generator) -> Tensor:
    return (2.0 * torch.randint(2, like.shape, generator=generator) - 1.0).to(like)


def _products(gradients: list[Tensor], weights: list[Tensor], signs: list[Tensor]) -> list[Tensor]:
    """z * Hz for signs z; zeros where gradients are constant."""
    bent = [(g, z) for g, z in zip(gradients, signs, strict=True) if g.requires_grad]
    if not bent:
        return [torch.zeros_like(z) for z in signs]
    found = torch.autograd.grad(
        [g for g, _ in bent],
        weights,
        [z for _, z in bent],
        retain_graph=True,
        allow_unused=True,
        materialize_grads=True,
    )
    return [z * hz for z, hz in zip(signs, found, strict=True)]
