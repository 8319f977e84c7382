"""What is known of a trained metanetwork that rewrites networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from nasplat.prune.meta.family import Family
from nasplat.prune.meta.settings import MetaSettings
from nasplat.prune.trained import TrainedKind

PRUNERS = TrainedKind("card.json", "trained metanetwork")
"""Folders of those that rewrite networks."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch of meta-training, counted from 1: the mean loss of rewritten data models on training data, what the
    judge said of rewritten held-out networks (a mean over these; higher is better), and seconds it took in all."""

    number: int
    loss: float
    value: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Card:
    """Where a metanetwork that prunes comes from and what it may be asked.

    data: what the data models learned from. networks, held_out: how many it learned from, and how many others chose
    the epoch. judged_by: what they were judged by. untouched: what the judge says of these networks as they are.
    chosen: the number of the epoch that was kept, the best of all `epochs`. command: what makes it again. figures:
    measured elsewhere, by name.
    """

    settings: MetaSettings
    family: Family
    data: str
    networks: int
    held_out: int
    judged_by: str
    untouched: float
    chosen: int
    epochs: tuple[Epoch, ...]
    command: str
    commit: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def value(self) -> float:
        """What the judge said in the chosen epoch."""
        return self.epochs[self.chosen - 1].value

    def as_json(self) -> dict[str, Any]:
        """The card as JSON."""
        page = {f.name: getattr(self, f.name) for f in fields(self)}
        own = {"settings": self.settings.as_json(), "family": self.family.as_json()}
        return page | own | {"epochs": [asdict(epoch) for epoch in self.epochs]}

    @classmethod
    def from_json(cls, page: Mapping[str, Any]) -> Card:
        """What `as_json` gave. ValueError, KeyError or TypeError for anything else."""
        settings, family = MetaSettings.from_json(page["settings"]), Family.from_json(page["family"])
        epochs = tuple(Epoch(**epoch) for epoch in page["epochs"])
        return cls(**{**page, "settings": settings, "family": family, "epochs": epochs})
