"""A trained set-aware metanetwork as files: weights in safetensors, everything else in JSON, no pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from nasplat.errors import NasplatError, expected_one_of
from nasplat.files import content_hash, write_atomic
from nasplat.prune.meta.family import Family
from nasplat.prune.setaware.examples import Walks
from nasplat.prune.setaware.network import Body
from nasplat.prune.setaware.training import Epoch, Fitting

WEIGHTS, CARD = "weights.safetensors", "set_aware.json"


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


def write_set_aware(folder: Path, tensors: Mapping[str, Tensor], card: Card) -> None:
    """Weights, then the card that holds their hash."""
    from safetensors.torch import save

    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    page = card.as_json() | {"weights": write_atomic(folder / WEIGHTS, content)}
    write_atomic(folder / CARD, json.dumps(page, indent=1, ensure_ascii=False) + "\n")


def read_set_aware(folder: Path) -> tuple[dict[str, Tensor], Card]:
    """NasplatError for files that are missing, damaged or not each other's."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        page = json.loads((folder / CARD).read_text(encoding="utf-8"))
        content = (folder / WEIGHTS).read_bytes()
        if content_hash(content) != page.pop("weights"):
            raise ValueError(f"{WEIGHTS} is not the file that {CARD} was written for")
        return load(content), Card.from_json(page)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, NasplatError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise NasplatError(
            f"{folder} holds no set-aware metanetwork ({type(error).__name__}: {reason}); expected {CARD} and {WEIGHTS}"
        ) from error


def find_set_aware(name: str | Path, base: Path | None = None) -> Path:
    """The folder of a metanetwork: a path relative to `base`, else one that nasplat ships; else NasplatError."""
    own = Path(base or ".") / Path(name).expanduser()
    if (own / CARD).is_file():
        return own
    known = {place.name: place for place in shipped_set_aware()}
    if str(name) in known:
        return known[str(name)]
    raise NasplatError(
        f"no set-aware metanetwork {str(name)!r}: expected a folder with {CARD}, or one that nasplat ships; "
        f"{expected_one_of(name, known)}"
    )


def shipped_set_aware() -> list[Path]:
    """The folders of all set-aware metanetworks that nasplat ships."""
    trained = Path(str(files("nasplat.predictors"))) / "trained"
    return sorted(place.parent for place in trained.glob(f"*/{CARD}"))
