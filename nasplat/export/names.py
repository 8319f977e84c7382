"""Attribute names that a person would choose, from the dotted paths of a module tree."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable

from torch import nn

_PLURAL = re.compile(r"(?<=[a-z]{2})(?<![suia])s$")


def attribute_names(paths: Iterable[str]) -> dict[str, str]:
    """A different attribute name for every path, in order.

    >>> attribute_names(["stages.0.blocks.1.conv1", "0"])
    {'stages.0.blocks.1.conv1': 'stage0_block1_conv1', '0': 'layer0'}
    """
    names: dict[str, str] = {}
    for path in paths:
        if path not in names:
            names[path] = _unused(_name(path), set(names.values()))
    return names


def block_of(path: str) -> str:
    """The part of a network that a layer belongs to: its path up to the last numbered parent, else its first parent.

    >>> block_of("stages.0.blocks.1.shortcut.conv"), block_of("stem.conv"), block_of("head")
    ('stages.0.blocks.1', 'stem', '')
    """
    parents = path.split(".")[:-1]
    numbered = [i for i, part in enumerate(parents) if part.isdigit()]
    return ".".join(parents[: numbered[-1] + 1] if numbered else parents[:1])


def _name(path: str) -> str:
    words: list[str] = []
    for part in path.split("."):
        if part.isdigit() and not words:
            words.append(f"layer{part}")
        elif part.isdigit() and not words[-1][-1].isdigit():
            words[-1] = _PLURAL.sub("", words[-1]) + part
        else:
            words.append(part)
    return re.sub(r"\W", "_", "_".join(words)).lstrip("_") or "layer"


def _unused(name: str, used: set[str]) -> str:
    if keyword.iskeyword(name) or hasattr(nn.Module, name) or name == "training":
        name += "_"
    taken = used | {""}
    choices = [name, *(f"{name}_{i}" for i in range(2, len(used) + 3))]
    return next(choice for choice in choices if choice not in taken)
