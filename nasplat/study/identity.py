"""Whether a study still asks the question that it was made with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nasplat.errors import StoreError

Difference = tuple[str, Any, Any]


def refuse_changes(study: str, known: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise StoreError where the configuration of a study is not what the store knows, naming the first change."""
    difference = first_difference(known, now)
    if difference is not None:
        place, before, after = difference
        raise StoreError(
            f"study {study!r} was made with {place} = {before}, now it is {after}; "
            f"undo the change, or give the study another name (what still holds is not measured again)"
        )


def first_difference(known: Any, now: Any, place: str = "") -> Difference | None:
    """The first place, such as "supernet.epochs", where two pieces of JSON differ, and what is there.

    >>> first_difference({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]})
    ('a[1].b', 2, 3)
    """
    if isinstance(known, Mapping) and isinstance(now, Mapping):
        keys = dict.fromkeys([*now, *known])
        pairs = [(f"{place}.{key}" if place else key, known.get(key), now.get(key)) for key in keys]
    elif _is_list(known) and _is_list(now) and len(known) == len(now):
        pairs = [(f"{place}[{i}]", a, b) for i, (a, b) in enumerate(zip(known, now, strict=True))]
    else:
        return None if known == now else (place, known, now)
    found = (first_difference(before, after, inner) for inner, before, after in pairs)
    return next((difference for difference in found if difference), None)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)
