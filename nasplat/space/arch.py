"""An architecture: the values of its active choices, with a key that names it everywhere."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn, TypeAlias

from nasplat.errors import InvalidArchitecture
from nasplat.files import canonical_json, content_hash

Value: TypeAlias = bool | int | float | str | None


class Arch(Mapping[str, Value]):
    """An immutable, hashable mapping from the names of active choices to their values.

    Two architectures are equal when they hold the same values of the same types (1, 1.0 and True differ),
    in any order. `Space.arch` makes the canonical form, in which inactive choices are absent; only that form
    gives equal networks equal keys. A value that is not None, a bool, an int, a finite float or a str raises
    InvalidArchitecture.
    """

    __slots__ = ("_key", "_text", "_values")

    _key: str
    _text: str
    _values: dict[str, Value]

    def __init__(self, values: Mapping[str, Value]) -> None:
        values = dict(values)
        for name, value in values.items():
            check_value(name, value)
        text = canonical_json(values)
        object.__setattr__(self, "_values", values)
        object.__setattr__(self, "_text", text)
        object.__setattr__(self, "_key", content_hash(text)[:16])

    def __getitem__(self, name: str) -> Value:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        return self._text == other._text if isinstance(other, Arch) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return f"Arch({', '.join(f'{name}={value!r}' for name, value in self.items())})"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"an Arch never changes: make a new one to set {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"an Arch never changes: make a new one without {name!r}")

    def __reduce__(self) -> tuple[type[Arch], tuple[dict[str, Value]]]:
        return Arch, (self.to_json(),)  # copies of modules that hold an Arch, and worker processes

    @property
    def key(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of the canonical JSON."""
        return self._key

    def to_json(self) -> dict[str, Value]:
        """The values as a plain dict; `Arch` of the same after JSON and back is equal."""
        return dict(self._values)


def check_value(name: Any, value: Any) -> None:
    """Raise InvalidArchitecture unless the name is a non-empty str and the value a plain one."""
    if type(name) is not str or not name:
        raise InvalidArchitecture(f"{name!r} is not the name of a choice: use a non-empty str")
    if value is not None and type(value) not in (bool, int, float, str):
        kind = type(value).__name__
        raise InvalidArchitecture(f"{name} is {value!r} ({kind}): use None, a bool, int, float or str")
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidArchitecture(f"{name} is {value!r}: use a finite number")
