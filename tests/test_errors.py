"""Mistakes of users: one family, one line each."""

from __future__ import annotations

import pytest

from nasplat import errors
from nasplat.errors import NasplatError, expected_one_of


@pytest.mark.parametrize(
    "name",
    [
        "InvalidArchitecture",
        "InvalidStudy",
        "DataError",
        "StoreError",
        "TrainingError",
        "ExportError",
        "MissingExtra",
    ],
)
def test_every_mistake_is_of_one_family_and_explained(name: str) -> None:
    kind = getattr(errors, name)
    assert issubclass(kind, NasplatError)
    assert kind.__doc__
    assert errors.__doc__ is not None
    assert name in errors.__doc__


def test_mistakes_are_also_what_python_calls_them() -> None:
    assert issubclass(errors.InvalidArchitecture, ValueError)
    assert issubclass(errors.MissingExtra, ImportError)


@pytest.mark.parametrize(
    ("name", "known", "line"),
    [
        ("epoch", ["epochs", "seed"], "did you mean 'epochs'? known: epochs, seed"),
        ("zebra", ["epochs", "seed"], "known: epochs, seed"),
        ("x", [], "known: none"),
        (12, [1, 2, 120], "did you mean '120'? known: 1, 2, 120"),
    ],
)
def test_unknown_name_is_answered_with_a_guess_if_one_is_close(
    name: object, known: list[object], line: str
) -> None:
    assert expected_one_of(name, known) == line
