"""First-order estimate of what the loss does without a channel (arXiv:1906.10771)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nasplat.prune.scores.evidence import Evidence
from nasplat.prune.scores.gradients import slopes, trained_slots
from nasplat.prune.scores.members import Members, check_words, importance, summed


@dataclass(frozen=True, slots=True)
class Taylor:
    """First-order change of the loss, summed over each member of a channel, to a power, mean over batches.

    joint=False sums |w g| of single weights w with gradients g; joint=True takes |sum of w g|, the derivative of the
    loss by a factor of 1 on the member, and with power=2 is eq. 8 of the paper, which adds over layers that share a
    channel.
    """

    power: float = 1.0
    joint: bool = False
    reduction: str = "sum"
    normaliser: str = "none"
    kinds: tuple[str, ...] = ("weight", "scale")

    def __post_init__(self) -> None:
        check_words(self.kinds, self.reduction, self.normaliser)

    def __call__(self, evidence: Evidence) -> Tensor:
        """Importance (channels,). Cost: a forward and a backward pass for each batch. NasplatError without `loss`."""
        slots = trained_slots(evidence, self.kinds)
        names = {slot.parameter for slot in slots}
        powers: list[Tensor] = []
        held = torch.zeros(0, dtype=torch.bool)
        for batch in slopes(evidence, "taylor"):
            products = {name: batch.weights[name].detach() * batch.gradients[name] for name in names}
            if not self.joint:
                products = {name: product.abs() for name, product in products.items()}
            found = summed(evidence.spec, slots, products)
            powers.append(found.values.abs() ** self.power)
            held = found.held
        members = Members(torch.stack(powers).mean(0), held)
        return importance(evidence.spec, members, self.reduction, self.normaliser)
