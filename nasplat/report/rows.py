"""What every picture of trials needs to know of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from nasplat.pareto import knee, nondominated

if TYPE_CHECKING:
    import pandas as pd


def complete_rows(frame: pd.DataFrame, objectives: Mapping[str, str]) -> pd.DataFrame:
    """The rows with all objectives, and the optional columns filled in."""
    missing = [name for name in ("number", *objectives) if name not in frame]
    if missing or not objectives:
        what = f"column {missing[0]!r}" if missing else "objective to plot"
        raise ValueError(f"the frame has no {what}; its columns are {list(frame.columns)}")
    names = list(objectives)
    rows = frame.dropna(subset=names).copy()
    rows[names] = rows[names].astype(float)
    for column, default in (("feasible", True), ("noisy", False)):
        rows[column] = rows[column].astype(bool) if column in rows else default
    if "on_front" not in rows:
        rows["on_front"] = False
        usable = rows.index[rows["feasible"]]
        rows.loc[usable, "on_front"] = nondominated(rows.loc[usable, names], list(objectives.values()))
    front = rows.index[rows["on_front"].astype(bool)]
    if "knee" not in rows:
        rows["knee"] = False
        if len(front):
            rows.loc[front[knee(rows.loc[front, names], list(objectives.values()))], "knee"] = True
    return rows.astype({"on_front": bool, "knee": bool})
