"""Predictors by name: what is no predictor, and arguments that do not fit, told in one line."""

from __future__ import annotations

from typing import Any

import pytest

from nasplat.errors import NasplatError
from nasplat.prediction.making import make_predictor


def test_a_predictor_is_made_with_its_arguments() -> None:
    assert make_predictor("forest", {"trees": 3}).arguments["trees"] == 3


@pytest.mark.parametrize(
    ("plug_in", "arguments", "line"),
    [
        ("forest", {"tree": 3}, "predictor 'forest' has no key 'tree'"),
        ("forest", {"trees": "3"}, "predictor 'forest' trees = '3'"),
        ("nwot", {}, "'nwot' is a Score, not a predictor"),
        ("mine.py:P", {}, "predictor 'mine.py:P' is code by its place"),
    ],
)
def test_mistakes_are_one_line(plug_in: str, arguments: dict[str, Any], line: str) -> None:
    with pytest.raises(NasplatError, match=line) as told:
        make_predictor(plug_in, arguments)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("error", [TypeError, ValueError, RuntimeError])
def test_arguments_that_a_plug_in_refuses_are_told_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fussy(*, hidden: int = 8) -> None:
        raise error(f"{hidden} is no\nmultiple of 4")

    monkeypatch.setattr("nasplat.prediction.making.load", lambda *_: fussy)
    with pytest.raises(NasplatError, match=r"predictor 'fussy' .*'hidden': 10.*: 10 is no multiple of 4$"):
        make_predictor("fussy", {"hidden": 10})
