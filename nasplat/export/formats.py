"""The formats of a bundle, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nasplat.errors import ExportError, expected_one_of
from nasplat.export import onnx, program, state
from nasplat.export.network import Network


@dataclass(frozen=True, slots=True)
class Format:
    """How a format is written, what it needs, and how a person loads it.

    write: (network, folder, the caller's description of the architecture) -> names of the files written.
    require: raises MissingExtra where an optional package is not installed.
    usage: Markdown with a place for the shape of the {inputs}.
    """

    write: Callable[[Network, Path, Any], list[str]]
    usage: str
    require: Callable[[], None] = lambda: None


FORMATS = {
    "state": Format(state.write_state, state.USAGE),
    "pt2": Format(program.write_program, program.USAGE),
    "onnx": Format(onnx.write_onnx, onnx.USAGE, onnx.require_onnx),
}


def check_formats(names: Sequence[str]) -> tuple[str, ...]:
    """The names, each once, in our order.

    ExportError for an unknown name or none, MissingExtra for a format whose packages are not installed.
    """
    for name in names:
        if name not in FORMATS:
            raise ExportError(f"unknown format {name!r}; {expected_one_of(name, FORMATS)}")
    if not names or isinstance(names, str):
        raise ExportError(f"formats must be a list of names; known: {', '.join(FORMATS)}")
    for name in names:
        FORMATS[name].require()
    return tuple(name for name in FORMATS if name in names)
