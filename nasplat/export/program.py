"""The format `pt2`: a program of torch.export, written and read without pickle.

torch.export.load unpickles what an archive asks it to: tensors marked `use_pickle`, custom objects, files of the
older layouts, and the example inputs (first with weights_only=True, then without). An archive of ours has none of
these, and `load_program` refuses one that has. That is no sandbox: torch also evaluates the shape conditions that an
archive holds as Python text, so a program from somebody else deserves the trust that one gives to source code.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch.export import Dim, ExportedProgram

from nasplat.errors import ExportError
from nasplat.export.network import Network, first_line
from nasplat.files import write_atomic

USAGE = """```python
import torch
network = torch.export.load("network.pt2").module()
outputs = network(inputs)  # inputs {inputs}, any n
```"""

_MODELS, _WEIGHTS, _CONSTANTS, _EXAMPLES = (
    "models/",
    "data/weights/",
    "data/constants/",
    "data/sample_inputs/",
)
_PLAIN = (
    "archive_format",
    "archive_version",
    "byteorder",
    ".data/version",
    ".data/serialization_id",
    ".format_version",
    ".storage_alignment",
)


def write_program(network: Network, folder: Path, architecture: Any) -> list[str]:
    """Write `network.pt2`, with a free batch size, to a folder; its name."""
    try:
        program = torch.export.export(
            network.traced, (network.example,), dynamic_shapes=({0: Dim("batch", min=1)},)
        )
    except Exception as error:
        raise ExportError(f"torch.export cannot export this network: {first_line(error)}") from error
    program.example_inputs = None  # torch would pickle them
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # names files of this machine
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    write_atomic(folder / "network.pt2", buffer.getvalue())
    check_program(folder / "network.pt2")
    return ["network.pt2"]


def load_program(path: Path) -> ExportedProgram:
    """A program of torch.export from a `.pt2` file that needs no pickle; `.module()` gives the network.

    ExportError for a file that is damaged or needs pickle. See the module's text: not a sandbox.
    """
    check_program(path)
    try:
        return torch.export.load(path)
    except Exception as error:
        raise ExportError(f"{path} cannot be loaded: {first_line(error)}; export it again") from error


def check_program(path: Path) -> None:
    """Refuse a `.pt2` archive that is damaged, or that needs pickle or native code to load (ExportError)."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
            members = {name.partition("/")[2]: archive.getinfo(name) for name in archive.namelist()}
            reasons = [_reason(archive, name, info) for name, info in members.items()]
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, AttributeError, TypeError) as error:
        raise ExportError(
            f"{path} is not a whole .pt2 archive ({first_line(error)}); export it again"
        ) from error
    if damaged is not None or "archive_format" not in members:
        raise ExportError(f"{path} is not a whole .pt2 archive of this layout; export it again")
    for reason in filter(None, reasons):
        raise ExportError(f"{path} is refused: {reason}; export it again with `nasplat export --format pt2`")


def _reason(archive: zipfile.ZipFile, name: str, info: zipfile.ZipInfo) -> str | None:
    """Why a member of an archive makes it unsafe to load; None when it does not."""
    if name in _PLAIN or (name.startswith(_MODELS) and name.endswith(".json")):
        return None
    if name.startswith(_EXAMPLES):
        return f"its {name} needs pickle" if info.file_size else None
    if name.startswith((_WEIGHTS, _CONSTANTS)) and name.endswith("_config.json"):
        tensors = json.loads(archive.read(info))["config"]
        pickled = [key for key, value in tensors.items() if value["use_pickle"] is not False]
        return f"its tensor {pickled[0]} needs pickle" if pickled else None
    if name.startswith((_WEIGHTS + "weight_", _CONSTANTS + "tensor_")):
        return None
    return f"its member {name} is not part of a program without pickle and native code"
