"""A study to start from."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from nasplat.errors import InvalidStudy
from nasplat.files import write_atomic

STARTER = ("study.toml", "space.py")


def write_template(folder: Path) -> list[Path]:
    """Write study.toml and space.py to a folder; refuses to overwrite either. The written paths."""
    taken = [folder / name for name in STARTER if (folder / name).exists()]
    if taken:
        raise InvalidStudy(f"{taken[0]} exists already; choose another folder")
    source = files("nasplat.study") / "starter"
    try:
        for name in STARTER:
            write_atomic(folder / name, (source / name).read_bytes())
    except OSError as error:
        raise InvalidStudy(
            f"cannot write to {folder}: {error.strerror or error}; choose another folder"
        ) from None
    return [folder / name for name in STARTER]
