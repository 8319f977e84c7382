"""What is known of a trained set-aware metanetwork."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from nasplat.prune.meta.family import Family
from nasplat.prune.setaware.examples import Walks
from nasplat.prune.setaware.network import Body
from nasplat.prune.setaware.training import Epoch, Fitting
from nasplat.prune.trained import TrainedKind

SET_AWARE = TrainedKind("set_aware.json", "set-aware metanetwork")
"""Folders of those that judge channels, given which are gone."""


@dataclass(frozen=True, slots=True)
class Card:
    """Where a set-aware metanetwork comes from and what it may be asked.

    data: what the networks learned from, and losses were measured on. networks, held_out: how many it learned from,
    and how many others chose the epoch; masks: of the former. chosen: the number of the epoch that was kept. command:
    what makes it again. figures: measured on networks that it has never seen, by name.
    """

    body: Body
    walks: Walks
    fitting: Fitting
    family: Family
    data: str
    networks: int
    held_out: int
    masks: int
    chosen: int
    epochs: tuple[Epoch, ...]
    command: str
    commit: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The card as JSON."""
        page = {f.name: getattr(self, f.name) for f in fields(self)}
        parts = {name: asdict(page[name]) for name in ("body", "walks", "fitting")}
        return (
            page
            | parts
            | {"family": self.family.as_json(), "epochs": [asdict(epoch) for epoch in self.epochs]}
        )

    @classmethod
    def from_json(cls, page: Mapping[str, Any]) -> Self:
        """What `as_json` gave. ValueError, KeyError or TypeError for anything else."""
        own = {
            "body": Body.from_json(page["body"]),
            "walks": Walks(**page["walks"]),
            "fitting": Fitting(**page["fitting"]),
            "family": Family.from_json(page["family"]),
            "epochs": tuple(Epoch(**epoch) for epoch in page["epochs"]),
        }
        return cls(**{**page, **own})
