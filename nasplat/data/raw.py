"""Published data files, read as bytes of a known number; plain, gzip or xz."""

from __future__ import annotations

import gzip
import lzma
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nasplat.errors import DataError

OPENERS: dict[str, Callable[..., Any]] = {"": Path.open, ".gz": gzip.open, ".xz": lzma.open}
DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError)


def data_root() -> Path | None:
    """The folder of data sets that NASPLAT_DATA names; None when it names none."""
    root = os.environ.get("NASPLAT_DATA")
    return Path(root).expanduser() if root else None


def data_folder(folder: str | Path | None, name: str, source: str) -> Path:
    """The folder of a data set: the one given, else `name` in NASPLAT_DATA; `source` offers its files."""
    root = data_root()
    if folder is None and root is None:
        need = f"give `folder`, or set NASPLAT_DATA to the folder that holds {name}/"
        raise DataError(f"no folder for the files of {name}: {need} ({source})")
    path = Path(folder).expanduser() if folder is not None else Path(root or "", name)
    if not path.is_dir():
        raise DataError(f"{path} is not a folder; expected the files of {name} in it ({source})")
    return path


def read_bytes(folder: Path, name: str, size: int, source: str) -> bytes:
    """The content of a file, or of its compressed form, that must have `size` bytes. DataError when not."""
    found = [(folder / f"{name}{ending}", opener) for ending, opener in OPENERS.items()]
    present = [(path, opener) for path, opener in found if path.exists()]
    if not present:
        raise DataError(f"{folder / name} is missing, and so are its .gz and .xz; get it from {source}")
    path, opener = present[0]
    try:
        with opener(path, "rb") as file:
            content: bytes = file.read(
                size + 1
            )  # one more: to see an end that comes late, and check the checksum
    except DAMAGE as error:
        raise DataError(f"{path} is damaged ({error}); get it again from {source}") from error
    if len(content) != size:
        found_size = f"more than {size}" if len(content) > size else str(len(content))
        raise DataError(f"{path} holds {found_size} bytes, expected {size}; get it again from {source}")
    return content
