"""A bundle: a folder with one network in some formats, its card and a README.

Loading a bundle's `state` runs its `network.py`, and loading its `pt2` trusts torch: load bundles of people whose
code you would run. The hashes in the card find damage, not malice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import nn

from nasplat.errors import ExportError
from nasplat.export.card import KIND
from nasplat.export.network import first_line
from nasplat.export.program import load_program
from nasplat.files import content_hash, file_hash

CARD = "card.json"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A folder that holds one exported and verified network.

    files: name -> SHA-256 of its content, for every file but the card itself.
    drift: format -> largest absolute difference of an output after reloading. values: format -> the validation
    metric after reloading, `value` before. content: hash of all that was to be exported. fresh: False when the
    same export was there already.
    """

    folder: Path
    files: dict[str, str]
    drift: dict[str, float]
    metric: str
    value: float
    values: dict[str, float]
    content: str
    fresh: bool = False


def check_bundle(folder: Path) -> Bundle:
    """The bundle in a folder, every file compared with its hash; ExportError when it is damaged or none."""
    folder = Path(folder)
    bundle = read_bundle(folder)
    for name, expected in bundle.files.items():
        path = folder / name
        if not path.is_file():
            raise ExportError(f"the bundle {folder} is damaged: {name} is missing; export it again")
        if file_hash(path) != expected:
            raise ExportError(
                f"the bundle {folder} is damaged: {name} is not what was exported; export it again"
            )
    return bundle


def read_bundle(folder: Path) -> Bundle:
    """What the card in a folder says, its files unchecked; ExportError when there is no card or it is damaged."""
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ExportError(f"{folder} is not a bundle: it has no {CARD}") from error
    except (OSError, ValueError) as error:
        raise ExportError(
            f"the bundle {folder} is damaged: {CARD} cannot be read ({first_line(error)})"
        ) from error
    if not isinstance(card, Mapping) or card.get("kind") != KIND:
        raise ExportError(f"{folder} is not a bundle: the kind in {CARD} is not {KIND!r}")
    try:
        return _from_card(folder, card["export"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ExportError(
            f"the bundle {folder} is damaged: {CARD} is not complete; export it again"
        ) from error


def load_bundle(folder: Path) -> nn.Module:
    """The network of a checked bundle, in evaluation mode on the CPU: from `state`, else from `pt2`.

    Runs the bundle's `network.py`: only for bundles whose makers you trust. ExportError when the bundle is damaged,
    when its weights do not fit its source, or when it holds neither format.
    """
    folder = Path(folder)
    bundle = check_bundle(folder)
    if "state" in bundle.drift:
        return _load_state(folder, bundle.files["network.py"])
    if "pt2" in bundle.drift:
        return load_program(folder / "network.pt2").module()
    raise ExportError(
        f"the bundle {folder} has only {', '.join(bundle.drift)}; load it with onnxruntime, see its README"
    )


def _load_state(folder: Path, expected: str) -> nn.Module:
    path = folder / "network.py"
    source = path.read_bytes()
    if content_hash(source) != expected:
        raise ExportError(f"the bundle {folder} is damaged: {path.name} changed while it was read")
    names: dict[str, Any] = {"__name__": "network", "__file__": str(path)}
    try:
        exec(
            compile(source, str(path), "exec"), names
        )  # not imported: that would write a cache into the bundle
        network: nn.Module = names["Network"]()
        network.load_state_dict(safetensors.torch.load_file(folder / "weights.safetensors"), strict=True)
    except (SafetensorError, OSError) as error:
        raise ExportError(f"the bundle {folder} is damaged: its weights: {first_line(error)}") from error
    except Exception as error:
        raise ExportError(f"the bundle {folder} does not load: {first_line(error)}") from error
    return network.eval()


def _from_card(folder: Path, export: Mapping[str, Any]) -> Bundle:
    files = {str(name): str(digest) for name, digest in export["files"].items()}
    if any(Path(name).name != name for name in files):
        raise ValueError("a file outside the bundle")
    formats, validation = export["formats"], export["validation"]
    return Bundle(
        folder=folder,
        files=files,
        drift={name: float(result["drift"]) for name, result in formats.items()},
        metric=str(validation["metric"]),
        value=float(validation["value"]),
        values={name: float(result["value"]) for name, result in formats.items()},
        content=str(export["content"]),
    )
