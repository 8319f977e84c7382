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
    """The size of the sum of weight times gradient over each member of a channel, to a power, mean over batches.

    That sum is the derivative of the loss by a factor of 1 on the member. power 2 is eq. 8 of the paper, which sums
    over the layers that share a channel; power 1 is its root for each member. joint=False sums absolute values of
    single weights instead. Removing all of a channel changes the loss in first order by one member's sum, not by all.
    """

    power: float = 2.0
    joint: bool = True
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
