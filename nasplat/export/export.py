"""A network as files that load without nasplat, each verified before the folder appears."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from nasplat.data import Task
from nasplat.errors import ExportError
from nasplat.export.bundle import CARD, Bundle, check_bundle, read_bundle
from nasplat.export.card import KIND, check_card, readme, versions
from nasplat.export.formats import FORMATS, check_formats
from nasplat.export.network import Network, first_line, prepare
from nasplat.export.verification import Validation, verify
from nasplat.files import atomic_folder, content_hash, file_hash, json_hash, write_atomic
from nasplat.measure import count_macs

NONE: Mapping[str, str] = MappingProxyType({})
"""No documents."""


def export_network(
    module: nn.Module,
    folder: Path,
    *,
    formats: Sequence[str] = ("state",),
    inputs: Tensor,
    targets: Tensor,
    task: Task,
    card: Mapping[str, Any],
    documents: Mapping[str, str] = NONE,
    overwrite: bool = False,
) -> Bundle:
    """Write a network to a folder as a bundle, and prove that every format gives the same network again.

    module: plain torch.nn layers and operations with one input (n, ...) and one output (n, ...); on any device,
    left unchanged; exported as float32 in evaluation mode. formats: of "state" (source and safetensors), "pt2"
    (torch.export) and "onnx". inputs (n, ...), targets (n, ...): the validation split that every format is run on,
    in a fresh process without nasplat. card: plain JSON; the README shows its `metrics` (name -> number or
    {value, unit, origin}), `latency` ({median_ms, iqr_ms, device}), `origin` and `architecture`. documents: further
    files of the bundle, name -> text, such as a plan that the card speaks of.

    The folder may be absent, empty, or a bundle. A whole bundle of the same content is left as it is
    (`fresh=False`); another one is replaced only with `overwrite`, and only when nothing else lies in it.
    Anything else is refused. ExportError for a network that cannot be exported or comes back different: the folder
    stays as it was. MissingExtra when "onnx" is asked for and its packages are missing.
    """
    names, given, folder = check_formats(formats), check_card(card), Path(folder).absolute()
    _check_documents(documents)
    inputs, targets = _settled(inputs), targets.detach().cpu()
    if len(inputs) != len(targets):
        raise ExportError(
            f"{len(inputs)} validation inputs have {len(targets)} targets; they must be as many"
        )
    network, outputs = prepare(module, inputs)
    export = _Export(network, names, given, Validation(inputs, targets, outputs, task), documents)
    existing = _existing(folder, export.content(), overwrite)
    if existing is not None:
        return existing
    try:
        with atomic_folder(folder) as temporary:
            _write(temporary, export)
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise ExportError(f"cannot write {folder}: {reason}; choose another folder") from error
    return replace(read_bundle(folder), fresh=True)


def check_folder(folder: Path, overwrite: bool = False) -> None:
    """ExportError where `export_network` would refuse a folder whatever it is to hold: for asking before long work."""
    _existing(Path(folder).absolute(), "", overwrite)


@dataclass(frozen=True, slots=True, eq=False)
class _Export:
    """Everything that decides what a bundle says."""

    network: Network
    formats: tuple[str, ...]
    card: dict[str, Any]
    validation: Validation
    documents: Mapping[str, str]

    def content(self) -> str:
        """A hash of it all, and of the torch that writes it: the same one means that there is nothing to do."""
        # a copy: targets may be the inputs, or overlap with them, which safetensors refuses
        targets = self.validation.targets.clone(memory_format=torch.contiguous_format)
        tensors = {"inputs": self.validation.inputs, "targets": targets}
        parts = [safetensors.torch.save(self.network.weights), safetensors.torch.save(tensors)]
        hashes = [content_hash(self.network.source), *map(content_hash, parts)]
        hashes += [content_hash(f"{name}\n{text}") for name, text in sorted(self.documents.items())]
        return json_hash(
            [hashes, self.formats, self.card, self.validation.task.metric, str(torch.__version__)]
        )


def _check_documents(documents: Mapping[str, str]) -> None:
    """ExportError for a document that is no plain file of the folder, or has the name of one of ours."""
    ours = {
        CARD,
        "README.md",
        "network.py",
        "network.json",
        "weights.safetensors",
        "network.pt2",
        "network.onnx",
    }
    for name in documents:
        if name in ours or Path(name).name != name:
            raise ExportError(f"a document of a bundle cannot be called {name!r}; choose another name")


def _settled(inputs: Tensor) -> Tensor:
    """Inputs as the exported network gets them: on the CPU, real numbers as float32."""
    inputs = inputs.detach().cpu().contiguous()
    return inputs.float() if inputs.is_floating_point() else inputs


def _existing(folder: Path, content: str, overwrite: bool) -> Bundle | None:
    """The same export, found whole in the folder; None when the folder can be written; else ExportError."""
    if not folder.exists() and not folder.is_symlink():
        return None
    if folder.is_symlink() or not folder.is_dir():
        raise ExportError(f"{folder} is not a folder; choose another one")
    present = {path.name for path in folder.iterdir()} - {"__pycache__"}  # left by importing a network.py
    if not present:
        return None
    try:
        bundle = read_bundle(folder)
    except ExportError as error:
        raise ExportError(
            f"{folder} is not empty and not a whole bundle; choose another folder or empty it"
        ) from error
    if bundle.content == content and not overwrite:
        return check_bundle(folder)
    strangers = sorted(present - {CARD, *bundle.files})
    if strangers:
        raise ExportError(
            f"{folder} holds {strangers[0]!r}, which is not of its bundle; choose another folder"
        )
    if not overwrite:
        raise ExportError(f"{folder} holds another export; choose another folder or add --overwrite")
    return None


def _write(folder: Path, export: _Export) -> None:
    """Write and verify every format, then the README, then the card with the hashes of them all."""
    network, architecture = export.network, export.card.get("architecture")
    files = {name: FORMATS[name].write(network, folder, architecture) for name in export.formats}
    found = verify(folder, export.formats, export.validation)
    results = {
        name: {"files": files[name], "drift": found[name].drift, "value": found[name].value}
        for name in export.formats
    }
    card = {"kind": KIND, **export.card, "export": _facts(export) | {"formats": results}}
    for name, text in export.documents.items():
        write_atomic(folder / name, text)
    write_atomic(folder / "README.md", readme(card))
    card["export"]["files"] = {path.name: file_hash(path) for path in sorted(folder.iterdir())}
    write_atomic(folder / CARD, json.dumps(card, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _facts(export: _Export) -> dict[str, Any]:
    network, validation = export.network, export.validation
    return {
        "content": export.content(),
        "network": {
            "input_shape": list(network.shapes.input),
            "input_type": str(network.example.dtype).removeprefix("torch."),
            "output_shape": list(network.shapes.output),
            "params": network.params,
            "macs": count_macs(network.traced, network.example),
        },
        "validation": {
            "samples": len(validation.inputs),
            "metric": validation.task.metric,
            "unit": validation.task.unit,
            "value": validation.value(validation.outputs),
        },
        "versions": versions(export.formats),
    }
