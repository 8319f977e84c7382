"""Plug-ins by name: built-in spaces and predictors, those of other packages, and objects in a user's own files.

A built-in plug-in is a module of `nasplat.spaces` or `nasplat.predictors` whose name is the plug-in's name and which
ends with one annotated constant: SPACE, or SCORE or PREDICTOR. A module whose name starts with an underscore
is no plug-in. Other packages add theirs by entry points of the groups `nasplat.spaces` and
`nasplat.predictors`. Listing names imports nothing. Loading imports the plug-in's module, which runs its code:
load nothing that you would not run.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from nasplat.errors import NasplatError, expected_one_of
from nasplat.files import content_hash

CONSTANTS = {"spaces": ("SPACE",), "predictors": ("SCORE", "PREDICTOR")}


def names(kind: str) -> list[str]:
    """The names that `load` knows for "spaces" or "predictors", sorted; no plug-in is imported."""
    return sorted({*_modules(kind), *_entry_points(kind)})


def load(kind: str, name: str, *, base: Path | None = None) -> Any:
    """The plug-in of a kind ("spaces" or "predictors") and name: its SPACE, SCORE or PREDICTOR.

    A name with a colon, `file.py:NAME` or `package.module:NAME`, is read by `load_object`. Built-in names come before
    entry points. An unknown name raises NasplatError with the known ones.
    """
    if ":" in name:
        return load_object(name, base)
    if name in _modules(kind):
        return _constant(importlib.import_module(f"nasplat.{kind}.{name}"), kind)
    points = _entry_points(kind)
    if name in points:
        return load_object(points[name].value, base)
    raise NasplatError(f"unknown name {name!r} among {kind}: {expected_one_of(name, names(kind))}")


def load_object(spec: str, base: Path | None = None) -> Any:
    """The object NAME of `path/to/file.py:NAME` (relative to `base`) or of `package.module:NAME`.

    This runs the code of that file or module. A file is imported under a private name, once for each content.
    NasplatError says in one line what is missing or where the code fails.
    """
    source, colon, name = spec.rpartition(":")
    if not (source and colon and name):
        raise NasplatError(f"{spec!r} names no object: write file.py:NAME or package.module:NAME")
    if source.endswith(".py"):
        module = _import_file(Path(base or ".") / source)
    else:
        module = _import_module(source, Path(base or "."))
    return _attribute(module, name, source)


def _modules(kind: str) -> list[str]:
    if kind not in CONSTANTS:
        raise NasplatError(f"unknown kind of plug-in {kind!r}: {expected_one_of(kind, CONSTANTS)}")
    package = find_spec(f"nasplat.{kind}")  # finds the folder, imports only `nasplat` itself
    folders = package.submodule_search_locations if package else None
    return [m.name for m in iter_modules(folders or []) if not m.name.startswith("_")]


def _entry_points(kind: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=f"nasplat.{kind}")}


def _constant(module: ModuleType, kind: str) -> Any:
    for constant in CONSTANTS[kind]:
        if hasattr(module, constant):
            return getattr(module, constant)
    raise NasplatError(f"{module.__name__} is no plug-in: end it with {' or '.join(CONSTANTS[kind])}")


def _import_file(path: Path) -> ModuleType:
    path = path.resolve()
    if not path.is_file():
        raise NasplatError(
            f"no file {path}: give a path to a Python file, relative to the file that names it"
        )
    private = f"_nasplat_file_{content_hash(str(path).encode() + path.read_bytes())[:16]}"
    if private in sys.modules:
        return sys.modules[private]
    module = sys.modules[private] = ModuleType(private)  # registered first: dataclasses look themselves up
    module.__file__ = str(path)
    try:
        exec(compile(path.read_bytes(), path, "exec"), vars(module))
    except BaseException as error:
        del sys.modules[private]
        if isinstance(error, Exception):
            raise NasplatError(f"{path} {_failure(error, str(path))}") from error
        raise
    return module


def _import_module(name: str, base: Path) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise NasplatError(f"module {name} {_failure(error, name)}") from error
        beside = (
            f"; for the file beside the study write {name}.py:NAME" if (base / f"{name}.py").is_file() else ""
        )
        raise NasplatError(f"no module {name!r} is installed{beside}") from error
    except Exception as error:
        raise NasplatError(f"module {name} {_failure(error, name)}") from error


def _attribute(module: ModuleType, name: str, source: str) -> Any:
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            public = [n for n in vars(module) if not n.startswith("_")]
            raise NasplatError(f"{source} has no {name!r}: {expected_one_of(name, public)}")
        found = getattr(found, part)
    return found


def _failure(error: Exception, file: str) -> str:
    """Where and why an import failed: the last line of `file`, else the last line of all."""
    if isinstance(error, SyntaxError):
        return f"has a syntax error in line {error.lineno}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == file]
    place = f" in line {lines[-1]}" if lines else ""
    reason = " ".join(str(error).split())
    return f"cannot be imported{place}: {type(error).__name__}: {reason}"
