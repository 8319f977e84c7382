"""Scores from the size of weights alone."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from nasplat.channels import named_tensors
from nasplat.prune.scores.evidence import Evidence
from nasplat.prune.scores.members import check_words, importance, member_slots, summed


@dataclass(frozen=True, slots=True)
class Magnitude:
    """Group norm: the sum of |w|^p over each member of a channel, reduced over members, normalised over its space.

    DepGraph (arXiv:2301.12900), eq. of the group importance, of which filter norms (arXiv:1608.08710: p=1, "first")
    and the scales of norms (arXiv:1708.06519: p=1, kinds=("scale",)) are cases. No root is taken.
    kinds: see `members.KINDS`; reduction: "mean", "sum", "max", "prod", "first"; normaliser: see NORMALISERS.
    """

    p: float = 2.0
    reduction: str = "mean"
    normaliser: str = "mean"
    kinds: tuple[str, ...] = ("weight", "scale")

    def __post_init__(self) -> None:
        check_words(self.kinds, self.reduction, self.normaliser)

    def __call__(self, evidence: Evidence) -> Tensor:
        """Importance (channels,). Cost: one pass over the weights."""
        slots = member_slots(evidence.spec, self.kinds)
        tensors = named_tensors(evidence.module)
        powers = {
            name: tensors[name].float().abs().pow(self.p) for name in {slot.parameter for slot in slots}
        }
        return importance(
            evidence.spec, summed(evidence.spec, slots, powers), self.reduction, self.normaliser
        )
