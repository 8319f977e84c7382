"""Whose a folder is: what was asked for lies in it, and a call that asks otherwise is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nasplat.errors import InvalidStudy
from nasplat.files import write_atomic


def claim(path: Path, asked: Mapping[str, Any]) -> None:
    """Write what is asked into a file; InvalidStudy, naming the first difference, where something else is there."""
    page = json.loads(json.dumps(dict(asked)))
    if not path.is_file():
        write_atomic(path, json.dumps(page, indent=1) + "\n")
        return
    try:
        known = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise InvalidStudy(f"{path} is damaged ({error}); remove {path.parent} to begin again") from None
    for name, value in page.items():
        if known.get(name) != value:
            raise InvalidStudy(
                f"{path.parent} was made with {name} = {known.get(name)}, not {value}: "
                "choose another folder, or remove it"
            )
