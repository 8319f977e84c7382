"""Which edges of a cell matter: those on a path from its input to its output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

Edge: TypeAlias = tuple[int, int]
"""Source and target node."""


def on_paths(edges: Sequence[Edge], output: int) -> list[Edge]:
    """The edges on paths from node 0 to `output`; edges into a node have to come before those out of it."""
    reached, leading = {0}, {output}
    for source, target in edges:
        if source in reached:
            reached.add(target)
    for source, target in reversed(edges):
        if target in leading:
            leading.add(source)
    return [(source, target) for source, target in edges if source in reached and target in leading]
