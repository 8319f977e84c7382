"""Trained predictors as files: arrays in safetensors, the rest and the card in TOML, no pickle."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nasplat import plugins
from nasplat.errors import NasplatError
from nasplat.files import content_hash, write_atomic
from nasplat.prediction.predictor import Predictor

ARRAYS, CARD = "weights.safetensors", "card.toml"


@dataclass(frozen=True, slots=True)
class Card:
    """Where a trained predictor comes from and what it may be asked.

    plug_in: its name among the predictors. space: name and hash of the space. metric, unit and direction: of what it
    predicts. data: what the labels come from. labels: how many there were. low and high: the range of the targets.
    command: what makes it again. commit, versions: of the code. figures: measured quality, by name.
    """

    plug_in: str
    space: str
    space_hash: str
    metric: str
    unit: str
    direction: str
    data: str
    labels: int
    low: float
    high: float
    command: str
    commit: str
    versions: Mapping[str, str] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)


def save_predictor(predictor: Predictor, card: Card, folder: Path) -> None:
    """Write weights, then the card that holds their hash."""
    from safetensors.numpy import save

    arrays, rest = predictor.state()
    written = write_atomic(folder / ARRAYS, save(arrays))
    page = asdict(card) | {"weights": written, "arguments": predictor.arguments, "rest": json.dumps(rest)}
    write_atomic(folder / CARD, _toml(page))


def load_predictor(folder: Path) -> tuple[Predictor, Card]:
    """A trained predictor and its card; NasplatError for files that are missing, damaged or not each other's."""
    from safetensors.numpy import load

    try:
        page = tomllib.loads((folder / CARD).read_text(encoding="utf-8"))
        content = (folder / ARRAYS).read_bytes()
        factory = plugins.load("predictors", page["plug_in"])
        predictor = factory(**page.pop("arguments"))
        rest, written = json.loads(page.pop("rest")), page.pop("weights")
        card = Card(**page)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NasplatError(
            f"{folder} holds no trained predictor: {error}; expected {CARD} and {ARRAYS}"
        ) from error
    if content_hash(content) != written:
        raise NasplatError(
            f"{folder / ARRAYS} is not the file that its card was written for: fetch both again"
        )
    return predictor.restore(load(content), rest), card


def _toml(page: Mapping[str, Any]) -> str:
    """Flat values first, then tables; strings as JSON, which TOML reads alike."""
    flat = [f"{name} = {json.dumps(value)}" for name, value in page.items() if not isinstance(value, Mapping)]
    tables = [
        f"\n[{name}]\n" + "\n".join(f"{key} = {json.dumps(entry)}" for key, entry in value.items())
        for name, value in page.items()
        if isinstance(value, Mapping)
    ]
    return "\n".join([*flat, *tables]) + "\n"
