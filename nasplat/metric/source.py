"""The code behind a number, as part of its origin."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import nasplat.scoring
from nasplat.files import file_hash, json_hash


def source_hash(function: Callable[..., Any]) -> str | None:
    """The hash of the file that a function was written in: an edited function is another one."""
    path = Path(getattr(getattr(function, "__code__", None), "co_filename", ""))
    return file_hash(path) if path.is_file() else None


@cache
def passes_hash() -> str:
    """The hash of the files of nasplat.scoring, whose passes the scores share: part of the value of each."""
    return folder_hash(Path(nasplat.scoring.__file__).parent)


def folder_hash(folder: Path) -> str:
    """The hash of the Python files of a folder, with their names."""
    return json_hash({path.name: file_hash(path) for path in sorted(folder.glob("*.py"))})
