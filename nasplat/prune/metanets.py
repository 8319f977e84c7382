"""Trained metanetworks of every kind by name."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from nasplat.errors import NasplatError, expected_one_of
from nasplat.prune.meta import PRUNERS, Pruner
from nasplat.prune.setaware import SET_AWARE, SetAware

Metanet: TypeAlias = Pruner | SetAware


def load_metanet(name: str | Path) -> Metanet:
    """A metanetwork that rewrites networks, or one that judges channels: a folder, or one that nasplat ships.

    Both are scores of channels for `plan_pruning`. NasplatError: there is none of that name.
    """
    rewriting = {place.name for place in PRUNERS.shipped()}
    judging = {place.name for place in SET_AWARE.shipped()}
    if str(name) in judging or (Path(name) / SET_AWARE.card).is_file():
        return SetAware.load(name)
    if str(name) in rewriting or Path(name).is_dir():
        return Pruner.load(name)
    raise NasplatError(
        f"no metanetwork {str(name)!r}: expected a folder that nasplat fit metanet wrote, or one that nasplat ships; "
        f"{expected_one_of(name, sorted(rewriting | judging))}"
    )
