"""Trained predictors as files: arrays in safetensors, the rest and the card in TOML, no pickle."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

from nasplat.arguments import ArgumentError, check_arguments
from nasplat.errors import NasplatError, expected_one_of
from nasplat.files import content_hash, write_atomic
from nasplat.prediction.making import check_name, make_predictor
from nasplat.prediction.predictor import Predictor
from nasplat.space import Space

ARRAYS, CARD = "weights.safetensors", "card.toml"

_OTHER_VERSION = (ArgumentError, ValueError, LookupError, TypeError, AttributeError, RuntimeError)
"""What plug-ins raise when they are given the state of another version."""


@dataclass(frozen=True, slots=True)
class Card:
    """Where a trained predictor comes from and what it may be asked.

    plug_in: its name among the predictors. space: name and hash of the space. metric, unit and direction: of what it
    predicts. data: what the labels come from. labels: how many there were. low and high: the range of the targets.
    command: what makes it again. commit, versions: of the code. figures: measured quality, by name. scores: those
    that it reads, plug-ins by name, and batch: the inputs that each of them sees. device: what a latency was
    measured on.
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
    scores: tuple[str, ...] = ()
    batch: int = 64
    device: str = ""

    def check(self, space: Space) -> None:
        """Raise NasplatError for another space than the one that the predictor has learned from."""
        if space.hash != self.space_hash:
            raise NasplatError(
                f"the predictor of {self.metric} learned from space {self.space!r} ({self.space_hash[:8]}), but this "
                f"is {space.name!r} ({space.hash[:8]}): fit one here (nasplat fit predictor), or use that space"
            )


def save_predictor(predictor: Predictor, card: Card, folder: Path) -> None:
    """Write weights, then the card that holds their hash."""
    from safetensors.numpy import save

    arrays, rest = predictor.state()
    written = write_atomic(folder / ARRAYS, save(arrays))
    page = asdict(card) | {"weights": written, "arguments": predictor.arguments, "rest": json.dumps(rest)}
    write_atomic(folder / CARD, _toml(page))


def load_predictor(folder: Path) -> tuple[Predictor, Card]:
    """A trained predictor and its card.

    Files may come from anywhere: a card chooses among the plug-ins that are installed, and no more. NasplatError for
    files that are missing, damaged, not each other's, or of another version.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        page = tomllib.loads((folder / CARD).read_text(encoding="utf-8"))
        content = (folder / ARRAYS).read_bytes()
        arguments, rest, written = page.pop("arguments"), json.loads(page.pop("rest")), page.pop("weights")
        card = _card(page)
    except (OSError, ValueError, KeyError, TypeError, ArgumentError) as error:
        raise NasplatError(
            f"{folder} holds no trained predictor: {error}; expected {CARD} and {ARRAYS}"
        ) from error
    if content_hash(content) != written:
        raise NasplatError(
            f"{folder / ARRAYS} is not the file that its card was written for: fetch both again"
        )
    for name in card.scores:
        check_name("score", name)
    try:
        return make_predictor(card.plug_in, arguments).restore(load(content), rest), card
    except (*_OTHER_VERSION, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise NasplatError(
            f"{folder} was written by another version of predictor {card.plug_in!r} "
            f"({type(error).__name__}: {reason}); make it again: {card.command}"
        ) from error


def find_trained(name: str, base: Path | None = None) -> Path:
    """The folder of a trained predictor: a path relative to `base`, else one that nasplat ships; else NasplatError."""
    own = Path(base or ".") / Path(name).expanduser()
    if (own / CARD).is_file():
        return own
    shipped = Path(str(files("nasplat.predictors"))) / "trained"
    known = sorted(place.parent.name for place in shipped.glob(f"*/{CARD}"))
    if name in known:
        return shipped / name
    raise NasplatError(
        f"no trained predictor {name!r}: expected a folder with {CARD}, relative to the study file, or one that "
        f"nasplat ships; {expected_one_of(name, known)}"
    )


def _card(page: Mapping[str, Any]) -> Card:
    unknown = sorted({*page} - {f.name for f in fields(Card)})
    if unknown:
        raise ValueError(f"the card says {', '.join(unknown)}, which this version of nasplat does not know")
    return Card(**check_arguments(Card, page, "the card"))


def _toml(page: Mapping[str, Any]) -> str:
    """Flat values first, then tables."""
    flat = [f"{name} = {_value(value)}" for name, value in page.items() if not isinstance(value, Mapping)]
    tables = [
        "\n".join([f"\n[{name}]", *(f"{_value(key)} = {_value(entry)}" for key, entry in value.items())])
        for name, value in page.items()
        if isinstance(value, Mapping)
    ]
    return "\n".join([*flat, *tables]) + "\n"


def _value(value: Any) -> str:
    """A text, number, truth or list of these as JSON, which TOML reads alike; JSON has no numbers without end, TOML
    no tables in its form."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_value(key)} = {_value(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
