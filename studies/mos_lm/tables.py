"""The tables of results.csv: how far inherited weights are behind training alone, for each way of sharing."""

from __future__ import annotations

import pandas as pd
from intervals import cell, gaps, reach, verdict
from jobs import CONTROL, VARIANTS

MEASURES = {"gap": -1, "gap of the smallest": -1, "gap of the largest": -1, "inherited": -1}
"""What is compared; less of it is better."""

RIVAL = "constant router"


def tables(rows: pd.DataFrame) -> str:
    """What training alone gives, then a table for each part."""
    parts = [part for part in rows["part"].drop_duplicates() if part != "alone"]
    return "\n\n".join([truth(rows), *(f"### At {part}\n\n{table(rows, part)}" for part in parts)])


def measures(rows: pd.DataFrame) -> pd.DataFrame:
    """A row for each part, method and seed: bits per character on the test split."""
    alone = rows[rows["part"] == "alone"].groupby("which")["test"].mean()
    trained = rows[rows["part"] != "alone"]
    trained = trained.assign(gap=trained["test"] - trained["which"].map(alone))
    index = ["part", "method", "seed"]
    found = trained.groupby(index).agg(
        gap=("gap", "mean"),
        inherited=("test", "mean"),
        steps=("steps", "first"),
        seconds=("seconds", "first"),
    )
    for end in ("smallest", "largest"):
        found[f"gap of the {end}"] = trained[trained["which"] == end].groupby(index)["gap"].first()
    return found


def table(rows: pd.DataFrame, part: str) -> str:
    """A line for each method: means over seeds, and paired differences with 95 % intervals to slicing.

    Slicing is the same at equal steps and at equal time.
    """
    found = measures(rows)
    control = found.loc["equal steps", CONTROL]
    wide = found.loc[part]
    columns = [*MEASURES, "steps", "seconds"]
    lines = [
        f"| method | {' | '.join(columns)} | gap against {RIVAL} | shown |",
        "|---" * (len(columns) + 3) + "|",
    ]
    for name in VARIANTS:
        mine = control if name == CONTROL else wide.loc[name] if name in wide.index else None
        if mine is None:
            continue
        beyond = {} if name == CONTROL else gaps(mine, control, list(MEASURES))
        cells = [cell(mine[column], beyond.get(column)) for column in columns]
        told = "control" if name == CONTROL else verdict(beyond, MEASURES) if beyond else ""
        lines.append(f"| {name} | {' | '.join(cells)} | {against(mine, wide, name)} | {told} |")
    return "\n".join(lines)


def against(mine: pd.DataFrame, wide: pd.DataFrame, name: str) -> str:
    """The paired difference of the gap to the control of equal parameters."""
    if RIVAL not in wide.index or name in (RIVAL, CONTROL):
        return ""
    gap, half = gaps(mine, wide.loc[RIVAL], ["gap"]).get("gap", (float("nan"), 0.0))
    return f"{gap:+.3f} ± {half:.3f}"


def truth(rows: pd.DataFrame) -> str:
    """What training alone gives."""
    alone = rows[rows["part"] == "alone"]
    means = alone.groupby("seed")["test"].mean()
    number, half = alone["which"].nunique(), reach(means)
    return f"{number} networks trained alone, {len(means)} seeds: {means.mean():.3f} ± {half:.3f} bits per character."
