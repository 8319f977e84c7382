"""AttentiveNAS: the sandwich whose random architectures are the best, or the worst, among equals in cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from nasplat.data import Dataset
from nasplat.space import Space
from nasplat.supernet.bins import mac_bins
from nasplat.supernet.methods.sandwich import SandwichTraining
from nasplat.supernet.recipe import expect
from nasplat.supernet.resource import Attentive
from nasplat.supernet.schedule import Phase

UPWARDS = {"best": True, "worst": False}


@dataclass(frozen=True, slots=True)
class AttentiveNASTraining(SandwichTraining):
    """The sandwich, in which each random architecture is picked among candidates (AttentiveNAS, arXiv:2011.09011).

    Multiply-adds are cut into bins. A bin is drawn as the space's own choices give it, then candidates of this bin,
    each with the same probability; what is trained is the one with the best or the worst loss on this step's batch.
    Judging costs a forward pass for each candidate. The largest teaches the others, as in `bignas`.

    random: how many are picked in a step. bins: of multiply-adds, of equal width; published are steps of 25 million.
    candidates: of which one is picked, published 3 (BestUp-3) to 50 (WorstUp-50).
    up: "best", which raises the front of the good ones, or "worst".

    Control: a single candidate, so that nobody is judged.
    """

    control: ClassVar[Mapping[str, Any]] = {"method": "attentivenas", "candidates": 1}

    alpha: float = 1.0
    bins: int = 20
    candidates: int = 3
    up: str = "best"

    def __post_init__(self) -> None:
        SandwichTraining.__post_init__(self)
        expect("bins", self.bins, self.bins >= 1, "at least 1")
        expect("candidates", self.candidates, self.candidates >= 1, "at least 1")
        expect("up", self.up, self.up in UPWARDS, " or ".join(UPWARDS))

    def phase(self, space: Space, data: Dataset, seed: int) -> Phase:
        """The sandwich, attentive between its ends."""
        bins = mac_bins(space, self.bins)
        policy = Attentive(bins, self.random, self.candidates, UPWARDS[self.up], seed)
        return replace(SandwichTraining.phase(self, space, data, seed), policy=policy)
