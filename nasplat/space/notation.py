"""How a field writes the architectures of a space down, beside nasplat's own keys."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nasplat.files import canonical_json
from nasplat.space.arch import Arch, Value
from nasplat.space.graph import ArchGraph


def _own_key(arch: Arch) -> str:
    return arch.key


def _own_text(arch: Mapping[str, Value]) -> str:
    return canonical_json(dict(arch))


@dataclass(frozen=True, slots=True)
class Notation:
    """The words of a space.

    spell: the text that tables of the field name an architecture by, and read, its inverse: the values of the choices.
    function_key: equal for architectures that are the same function of the same number of free weights; a finer
    key where the space knows no better. graph: the architecture as operations and edges, where there is such a form.
    """

    spell: Callable[[Arch], str] = _own_text
    read: Callable[[str], Mapping[str, Any]] = json.loads
    function_key: Callable[[Arch], str] = _own_key
    graph: Callable[[Arch], ArchGraph] | None = None
