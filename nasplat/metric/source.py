"""The code behind a number, as part of its origin."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from nasplat.files import file_hash


def source_hash(function: Callable[..., Any]) -> str | None:
    """The hash of the file that a function was written in: an edited function is another one."""
    path = Path(getattr(getattr(function, "__code__", None), "co_filename", ""))
    return file_hash(path) if path.is_file() else None
