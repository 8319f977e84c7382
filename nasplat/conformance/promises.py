"""Promises: checks that say in one line what they saw, and a round over all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nasplat.errors import NasplatError, expected_one_of


class Broken(Exception):
    """A promise that is not kept: what was seen."""


def broken(promises: Mapping[str, Callable[[Any], None]], case: Any, only: str | None) -> list[str]:
    if only is not None and only not in promises:
        raise NasplatError(f"unknown promise {only!r}: {expected_one_of(only, promises)}")
    lines = []
    for name in promises if only is None else [only]:
        try:
            promises[name](case)
        except Broken as error:
            lines.append(f"{name}: {error}")
        except Exception as error:  # a check reports; what the space raises is a finding too
            lines.append(f"{name}: {type(error).__name__}: {' '.join(str(error).split())}")
    return lines


def expect(kept: bool, seen: str) -> None:
    if not kept:
        raise Broken(seen)
