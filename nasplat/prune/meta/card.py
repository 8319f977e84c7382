"""A trained metanetwork that prunes as files: weights in safetensors, everything else in JSON, no pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

from torch import Tensor

from nasplat.errors import NasplatError, expected_one_of
from nasplat.files import content_hash, write_atomic
from nasplat.prune.meta.family import Family
from nasplat.prune.meta.settings import MetaSettings

WEIGHTS, CARD = "weights.safetensors", "card.json"


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


def write_pruner(folder: Path, tensors: Mapping[str, Tensor], card: Card) -> None:
    """Weights, then the card that holds their hash."""
    from safetensors.torch import save

    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    written = write_atomic(folder / WEIGHTS, content)
    page = card.as_json() | {"weights": written}
    write_atomic(folder / CARD, json.dumps(page, indent=1, ensure_ascii=False) + "\n")


def read_pruner(folder: Path) -> tuple[dict[str, Tensor], Card]:
    """NasplatError for files that are missing, damaged or not each other's."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        page = json.loads((folder / CARD).read_text(encoding="utf-8"))
        content = (folder / WEIGHTS).read_bytes()
        written = page.pop("weights")
        card = Card.from_json(page)
        if content_hash(content) != written:
            raise ValueError(f"{WEIGHTS} is not the file that {CARD} was written for")
        return load(content), card
    except (OSError, ValueError, KeyError, TypeError, AttributeError, NasplatError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise NasplatError(
            f"{folder} holds no trained metanetwork that prunes ({type(error).__name__}: {reason}); expected {CARD} "
            f"and {WEIGHTS} as nasplat fit metanet writes them"
        ) from error


def find_pruner(name: str, base: Path | None = None) -> Path:
    """The folder of a metanetwork: a path relative to `base`, else one that nasplat ships; else NasplatError."""
    own = Path(base or ".") / Path(name).expanduser()
    if (own / CARD).is_file():
        return own
    known = {place.name: place for place in shipped_pruners()}
    if name in known:
        return known[name]
    raise NasplatError(
        f"no trained metanetwork {name!r}: expected a folder with {CARD}, or one that nasplat ships; "
        f"{expected_one_of(name, known)}"
    )


def shipped_pruners() -> list[Path]:
    """The folders of all metanetworks that nasplat ships."""
    trained = Path(str(files("nasplat.predictors"))) / "trained"
    return sorted(place.parent for place in trained.glob(f"*/{CARD}"))
