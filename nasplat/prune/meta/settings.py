"""What a metanetwork that prunes is made of, and how it is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from nasplat.arguments import check_arguments
from nasplat.errors import NasplatError

_POSITIVE = ("width", "layers", "grid", "epochs", "rounds", "rate", "accuracy", "reach")
_NOT_NEGATIVE = ("node_step", "edge_step", "pruned", "reg", "decay", "seed")


@dataclass(frozen=True, slots=True)
class MetaSettings:
    """In the spirit of arXiv:2506.12041, whose ResNet-56 had width 64, 8 layers and a drop of the rate at epoch 3.

    width, layers, grid: of the edge-gated backbone. node_step r_n, edge_step r_e: how far the heads go, in units of
    what a column or a kind of weight is like in the data models. standard: whether the backbone reads numbers on that
    scale, too, and not as they are.
    accuracy: weight of the mean cross entropy (the published sum over 100 batches is 100). pruned: the same of the
    rewritten network cut at one of `speedups`, drawn for each step; not in the paper, where nothing looks at the cut.
    alpha, reg: of the pull towards zero, reg * gamma_c * w with gamma_c from 1 for the channel of greatest norm to
    alpha for the smallest.
    epochs: rounds over the data models and one validation. rounds: over the data models in an epoch. rate, decay,
    drops, factor: AdamW, its rate multiplied by `factor` after each epoch in drops. reach: how many times larger or
    smaller than the data models a network may be, see `Family`.
    """

    width: int = 16
    layers: int = 4
    grid: int = 3
    node_step: float = 0.1
    edge_step: float = 0.1
    standard: bool = True
    accuracy: float = 100.0
    pruned: float = 0.0
    speedups: tuple[float, ...] = (1.5, 2.0, 3.0)
    alpha: float = 16.0
    reg: float = 10.0
    epochs: int = 20
    rounds: int = 1
    rate: float = 1e-3
    decay: float = 5e-4
    drops: tuple[int, ...] = ()
    factor: float = 0.1
    reach: float = 4.0
    seed: int = 0

    def __post_init__(self) -> None:
        wrong = [f"{name} = {getattr(self, name)}" for name in _POSITIVE if not getattr(self, name) > 0]
        wrong += [f"{name} = {getattr(self, name)}" for name in _NOT_NEGATIVE if getattr(self, name) < 0]
        if self.alpha < 1 or not 0 < self.factor <= 1:
            wrong.append(f"alpha = {self.alpha}, factor = {self.factor}")
        if not self.speedups or min(self.speedups) <= 1:
            wrong.append(f"speedups = {self.speedups}")
        if wrong:
            raise NasplatError(
                f"settings of a metanetwork: {', '.join(wrong)}; give sizes, weights and rates above 0, steps, reg and "
                "decay from 0, alpha from 1, factor in (0, 1], speedups "
                "above 1"
            )

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Self:
        """What `as_json` gave; unknown or mistyped settings are refused by name."""
        return cls(**check_arguments(cls, entry, "the settings"))

    def as_json(self) -> dict[str, Any]:
        """All settings as JSON."""
        return asdict(self) | {"drops": list(self.drops), "speedups": list(self.speedups)}

    def rate_at(self, epoch: int) -> float:
        """The learning rate of an epoch, counted from 0."""
        return self.rate * self.factor ** sum(epoch >= drop for drop in self.drops)
