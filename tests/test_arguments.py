"""Tables checked against the signature of what they are meant for."""

from __future__ import annotations

import datetime
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import pytest

from nasplat.arguments import ArgumentError, accepts, check_arguments

if TYPE_CHECKING:
    from somewhere import Unknown


def sample(
    *,
    rate: float,
    sizes: tuple[int, ...] = (1, 2),
    kind: Literal["a", "b"] = "a",
    limit: int | None = None,
    nested: Sequence[int] | Sequence[Sequence[int]] = (),
    image: tuple[int, int, int] = (1, 8, 8),
) -> None: ...


def untyped(first, second=2, *rest, **others): ...  # type: ignore[no-untyped-def]


def half_typed(unknown: Unknown, number: int = 3) -> None: ...


@dataclass(frozen=True)
class Recipe:
    epochs: int = 20
    rate: float = 0.1


@pytest.mark.parametrize(
    ("function", "table", "checked"),
    [
        (sample, {"rate": 0.5}, {"rate": 0.5}),
        (sample, {"rate": 3}, {"rate": 3.0}),
        (sample, {"rate": 1.0, "sizes": [3, 4, 5]}, {"rate": 1.0, "sizes": (3, 4, 5)}),
        (sample, {"rate": 1.0, "kind": "b", "limit": 7}, {"rate": 1.0, "kind": "b", "limit": 7}),
        (partial(sample, rate=1.0), {"sizes": [1]}, {"sizes": (1,)}),
        (Recipe, {"epochs": 3, "rate": 1}, {"epochs": 3, "rate": 1.0}),
        (partial(Recipe, epochs=2), {"rate": 0.2}, {"rate": 0.2}),
        (untyped, {"first": {"any": ["thing"]}}, {"first": {"any": ["thing"]}}),
        (partial(half_typed, None), {"number": 4}, {"number": 4}),
    ],
)
def test_table_that_fits_becomes_keyword_arguments(
    function: Callable[..., Any], table: dict[str, Any], checked: dict[str, Any]
) -> None:
    found = check_arguments(function, table, "[space] sample")
    assert found == checked
    assert {name: type(value) for name, value in found.items()} == {n: type(v) for n, v in checked.items()}


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ({"rate": 1.0, "size": [3]}, "[space] sample has no key 'size'; did you mean 'sizes'? known: rate, "),
        ({}, "[space] sample needs 'rate' (float); add it"),
        ({"rate": "fast"}, "[space] sample rate = 'fast': input should be a valid number"),
        ({"rate": True}, "[space] sample rate = True: input should be a valid number"),
        ({"rate": 1.0, "sizes": [1, 2.5]}, "[space] sample sizes[1] = 2.5: input should be a valid integer"),
        ({"rate": 1.0, "sizes": 3}, "[space] sample sizes = 3: give a list"),
        ({"rate": 1.0, "nested": 3}, "[space] sample nested = 3: give a list"),
        (
            {"rate": 1.0, "nested": [1, 2.5]},
            "[space] sample nested[1] = 2.5: input should be a valid integer",
        ),
        ({"rate": 1.0, "image": [28, 28]}, "[space] sample image = [28, 28]: give 3 values, not 2"),
        ({"rate": 1.0, "image": [1, 2, 3, 4]}, "image = [1, 2, 3, 4]: give 3 values, not 4"),
        ({"rate": 1.0, "kind": "c"}, "[space] sample kind = 'c': input should be 'a' or 'b'"),
        ({"rate": 1.0, "limit": "none"}, "[space] sample limit = 'none': input should be a valid integer"),
        ({"rate": datetime.date(2024, 1, 1)}, "[space] sample rate = 2024-01-01: expected a number, a text"),
    ],
)
def test_mistake_is_told_with_its_key_its_value_and_what_was_expected(
    table: dict[str, Any], line: str
) -> None:
    with pytest.raises(ArgumentError, match=re.escape(line)) as told:
        check_arguments(sample, table, "[space] sample")
    assert "\n" not in str(told.value)


def test_open_keywords_take_nothing_from_a_table() -> None:
    assert not accepts(untyped, "others")
    assert not accepts(untyped, "third")
    assert accepts(untyped, "second")
    with pytest.raises(ArgumentError, match="has no key 'third'"):
        check_arguments(untyped, {"first": 1, "third": 3}, "x")


def test_an_inherited_signature_is_read_where_it_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = ModuleType("elsewhere")
    text = "from __future__ import annotations\nWord = str\nclass Base:\n    def __init__(self, word: Word = ''): pass"
    exec(text, vars(elsewhere))
    monkeypatch.setitem(sys.modules, "elsewhere", elsewhere)
    child = type("Child", (elsewhere.Base,), {})
    assert check_arguments(child, {"word": "a"}, "[space]") == {"word": "a"}
    with pytest.raises(ArgumentError, match="word = 3"):
        check_arguments(child, {"word": 3}, "[space]")
