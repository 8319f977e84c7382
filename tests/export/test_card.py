"""The page that a person reads about a bundle."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nasplat.export.card import readme

from .conftest import Exported


@pytest.fixture
def card(small: Exported) -> dict[str, Any]:
    """The card of a bundle, to be changed by a test."""
    return dict(json.loads((small.bundle.folder / "card.json").read_text()))


def test_a_latency_without_spread_or_from_a_busy_machine_says_so(card: dict[str, Any]) -> None:
    card["latency"] = {"median_ms": 2.0, "iqr_ms": None, "noisy": True, "device": "a busy CPU"}
    assert "| latency, median | 2 | ms | a busy CPU, noisy |" in readme(card)


def test_an_origin_shows_its_plain_entries_and_stays_within_its_table(card: dict[str, Any]) -> None:
    origin = {"seed": 0, "note": "a|b\nc", "machine": {"name": "x"}}
    card["metrics"] = {"accuracy": {"value": 0.5, "unit": "1", "origin": origin}, "params": 10}
    text = readme(card)
    assert "| accuracy | 0.5 | 1 | seed 0, note a\\|b c |" in text
    assert "| params | 10 |  |  |" in text


def test_what_else_the_caller_says_is_shown_as_origin(card: dict[str, Any]) -> None:
    assert "- study: digits" in readme({**card, "study": "digits"})


def test_a_card_without_metrics_and_latency_is_a_page_too(card: dict[str, Any]) -> None:
    page = readme({"kind": card["kind"], "export": card["export"]})
    assert "accuracy at export" in page
    assert "latency" not in page
