"""Trained metanetworks as folders: weights in safetensors, a card in JSON that holds their hash, no pickle."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, nn

from nasplat.errors import NasplatError, expected_one_of
from nasplat.files import content_hash, write_atomic

WEIGHTS = "weights.safetensors"
C = TypeVar("C")
M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class TrainedKind:
    """Metanetworks of one kind: the name of their card's file, and what they are called."""

    card: str
    what: str

    def write(self, folder: Path, tensors: Mapping[str, Tensor], page: Mapping[str, Any]) -> None:
        """Weights, then the card that holds their hash."""
        from safetensors.torch import save

        content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
        whole = {**page, "weights": write_atomic(folder / WEIGHTS, content)}
        write_atomic(folder / self.card, json.dumps(whole, indent=1, ensure_ascii=False) + "\n")

    def read(self, folder: Path, card: Callable[[Mapping[str, Any]], C]) -> tuple[dict[str, Tensor], C]:
        """Weights, and what `card` makes of the page. NasplatError: files that are missing, damaged or not each
        other's."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            page = json.loads((folder / self.card).read_text(encoding="utf-8"))
            content = (folder / WEIGHTS).read_bytes()
            if content_hash(content) != page.pop("weights"):
                raise ValueError(f"{WEIGHTS} is not the file that {self.card} was written for")
            return load(content), card(page)
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            NasplatError,
            SafetensorError,
        ) as error:
            reason = " ".join(str(error).split())
            raise NasplatError(
                f"{folder} holds no {self.what} ({type(error).__name__}: {reason}); expected {self.card} and {WEIGHTS} "
                "as they were written, or train it again"
            ) from error

    def find(self, name: str | Path, base: Path | None = None) -> Path:
        """The folder of one: a path relative to `base`, else one that nasplat ships; else NasplatError."""
        own = Path(base or ".") / Path(name).expanduser()
        if (own / self.card).is_file():
            return own
        known = {place.name: place for place in self.shipped()}
        if str(name) in known:
            return known[str(name)]
        raise NasplatError(
            f"no {self.what} {str(name)!r}: expected a folder with {self.card}, or one that nasplat ships; "
            f"{expected_one_of(name, known)}"
        )

    def shipped(self) -> list[Path]:
        """The folders of all that nasplat ships."""
        trained = Path(str(files("nasplat.predictors"))) / "trained"
        return sorted(place.parent for place in trained.glob(f"*/{self.card}"))


def filled(network: M, tensors: Mapping[str, Tensor], name: str | Path, command: str) -> M:
    """A fresh network with its trained weights, in evaluation mode. NasplatError: weights of another version."""
    try:
        network.load_state_dict(dict(tensors))
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise NasplatError(f"{name} is of another version ({reason}); make it again: {command}") from error
    return network.eval()
