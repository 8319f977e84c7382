"""Tables and values as text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nasplat.errors import InvalidStudy

if TYPE_CHECKING:
    import pandas as pd


LONG = ("reason", "reasons")
"""Columns of sentences, which give way to the others where a table is wide."""


def spelled(value: Any) -> str:
    """A value as a person reads it."""
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, float):
        return (
            ""
            if value != value
            else f"{value:,.0f}"
            if value.is_integer() and abs(value) >= 1000
            else f"{value:.4g}"
        )
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {spelled(v)}" for k, v in value.items()) or "none"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(spelled(v) for v in value) or "none"
    return "" if value is None else str(value)


def print_table(frame: pd.DataFrame, title: str, units: Mapping[str, str]) -> None:
    """Print a table; a spread `x_iqr` joins its value as "x ± iqr", columns with nothing in them are left out."""
    from rich.console import Console
    from rich.table import Table

    spreads = [c for c in frame.columns if c.endswith("_iqr")]
    shown = [c for c in frame.columns if c not in spreads and any(spelled(v) for v in frame[c])]
    table = Table(title=title, title_justify="left", box=None, header_style="bold")
    for column in shown:
        numeric = frame[column].dtype.kind in "if"
        heading = f"{column} ({units[column]})" if column in units else column
        table.add_column(heading, justify="right" if numeric else "left", no_wrap=column not in LONG)
    for _, row in frame.iterrows():
        table.add_row(*(_cell(row, column) for column in shown))
    Console(width=None if Console().is_terminal else 200).print(table)


def _cell(row: pd.Series[Any], column: str) -> str:
    text, spread = spelled(row[column]), row.get(f"{column}_iqr")
    return text if spread is None or not text else f"{text} ± {float(spread):.2g}"


def arguments_of(text: str, example: str) -> dict[str, Any]:
    """What `--arguments` says as JSON. InvalidStudy: it is no object; example: one that would be."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InvalidStudy(
            f"--arguments {text}: {error}; expected a JSON object, such as {example}"
        ) from None
    if not isinstance(found, dict):
        raise InvalidStudy(f"--arguments {text}: expected a JSON object, such as {example}")
    return found
