"""Other people's networks: a folder of state dicts and what makes their module."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from nasplat.errors import DataError
from nasplat.plugins import load_object
from nasplat.zoo.group import Group, Row, Skipped, finite, misfit
from nasplat.zoo.zoo import Zoo, zoo_of

ENDINGS = (".safetensors", ".pt", ".pth")
NESTED = ("state_dict", "model_state_dict", "model")  # where checkpoints keep a state dict among other things
NAMES = ("file", "name")  # columns of a table that name a member

Tensors = Mapping[str, Tensor]


def read_zoo(
    folder: str | Path, module: str | Callable[[], nn.Module], table: str | Path | None = None
) -> Zoo:
    """A zoo of the state dicts (.safetensors, .pt, .pth) in a folder, in the order of their names.

    module: makes a module that they fit; a callable, or "file.py:NAME" or "package.module:NAME", whose code then runs.
    table: CSV with a column `file` or `name` (with or without ending) and any facts, such as accuracies; `table.csv` of
    the folder unless given. Members that are damaged, do not fit or hold NaN are skipped and listed. PyTorch files
    are read with weights_only. DataError: no folder, no state dict that fits, a table without names.
    """
    folder = Path(folder)
    make = load_object(module) if isinstance(module, str) else module
    paths = sorted(p for p in folder.glob("*") if p.suffix in ENDINGS)
    if not paths:
        raise DataError(f"{folder} holds no state dicts; expected files ending in {', '.join(ENDINGS)}")
    facts = _facts(folder / "table.csv" if table is None else Path(table), required=table is not None)
    members, skipped = _members(paths, _expected(make, module))
    if not members:
        raise DataError(
            f"none of the {len(paths)} files in {folder} fits: {paths[0].name}: {skipped[0].reason}"
        )
    stacked = {
        name: torch.stack([m[name] for m in members.values()]) for name in next(iter(members.values()))
    }
    rows: tuple[Row, ...] = tuple(
        {"number": k, "file": path.name, "status": "given", **_found(facts, path)}
        for k, path in enumerate(members)
    )
    named = module if isinstance(module, str) else getattr(module, "__qualname__", str(module))
    origin = {"settings": {"kind": "folder", "module": named, "count": len(paths)}, "folder": str(folder)}
    return zoo_of([Group(folder.name, {"module": named}, make, stacked, rows)], origin, skipped)


def _expected(make: Callable[[], nn.Module], named: object) -> Tensors:
    try:
        with torch.random.fork_rng([]):
            return dict(make().state_dict())
    except Exception as error:
        raise DataError(f"{named} makes no module when called without arguments: {error}") from error


def _members(paths: list[Path], expected: Tensors) -> tuple[dict[Path, Tensors], list[Skipped]]:
    """State dicts that fit, by path, and those that do not."""
    members: dict[Path, Tensors] = {}
    skipped: list[Skipped] = []
    for path in paths:
        try:
            state = _read(path)
        except Exception as error:  # files from anywhere: each reader has its own ways to fail
            skipped.append(Skipped(path.name, f"cannot be read: {_short(error)}"))
            continue
        reason = misfit(state, expected) or _unsound(state)
        if reason:
            skipped.append(Skipped(path.name, reason))
        else:
            members[path] = {name: state[name].to(expected[name].dtype) for name in expected}
    return members, skipped


def _read(path: Path) -> Tensors:
    if path.suffix == ".safetensors":
        return load_file(path)
    found: Any = torch.load(path, map_location="cpu", weights_only=True)
    for key in NESTED:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not all(isinstance(t, Tensor) for t in found.values()):
        raise ValueError("no state dict, a mapping from names to tensors")
    return found


def _unsound(state: Tensors) -> str:
    sound = bool(finite({name: tensor[None] for name, tensor in state.items()}))
    return "" if sound else "NaN or infinite weights"


def _facts(path: Path, required: bool) -> dict[str, Row]:
    """Rows of a table by the member's name without ending; numbers as numbers."""
    if not path.is_file():
        if required:
            raise DataError(f"{path} is missing; give a CSV file with a column file")
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    key = next((k for k in NAMES if rows and k in rows[0]), None)
    if key is None:
        raise DataError(f"{path} does not say which file a row is about; add a column {' or '.join(NAMES)}")
    return {_stem(row[key]): {k: _value(v) for k, v in row.items() if k not in NAMES} for row in rows}


def _found(facts: Mapping[str, Row], path: Path) -> Row:
    return facts.get(_stem(path.name), {})


def _stem(name: str) -> str:
    return Path(name).stem if Path(name).suffix in ENDINGS else name


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _short(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    if "Weights only load failed" in text:
        return "Python objects beside tensors would run code; save `module.state_dict()` instead"
    return text if len(text) <= 120 else f"{text[:117]}..."
