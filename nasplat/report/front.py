"""The Pareto front as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from nasplat.pareto import DIRECTIONS
from nasplat.report.panel import Panel
from nasplat.report.rows import complete_rows

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_front(
    frame: pd.DataFrame,
    objectives: Mapping[str, str],
    *,
    units: Mapping[str, str] | None = None,
    title: str = "",
    path: Path | None = None,
) -> Figure:
    """All trials as dots, the front as connected steps, its knee labelled with the trial's number.

    frame: one row a trial. Columns: `number`; one per objective (rows with a NaN there are left out). Optional:
    `on_front` (bool; computed among feasible rows when absent), `knee` (bool; likewise), `feasible` (bool), `noisy`
    (bool), and `<objective>_iqr`, an inter-quartile range, of which half is drawn to each side.
    objectives: name to "minimize" or "maximize". units: name to unit; "1" and "" are not written.
    Two objectives fill one panel; more give a panel for each pair, one gives its values over the trials' numbers.
    path: where to save it as .png, .svg or .pdf. NasplatError: any other type of file.
    """
    from nasplat.report.picture import Picture

    names = list(objectives)
    rows = complete_rows(frame, objectives)
    pairs = list(combinations(range(len(names)), 2)) if len(names) > 1 else [(None, 0)]
    columns = min(3, len(pairs))
    lines = -(-len(pairs) // columns)
    figure = Picture(1.4 + 5.6 * columns, 0.6 + 4.4 * lines)
    panels: list[Axes] = list(figure.subplots(lines, columns, squeeze=False).flat)
    for axes, (one, other) in zip(panels, pairs, strict=False):
        x, y = ("number", names[other]) if one is None else _across(names[one], names[other], objectives)
        Panel(rows, objectives, units or {}, x, y).draw(axes)
    for axes in panels[len(pairs) :]:
        axes.set_visible(False)
    figure.suptitle(title or f"{len(rows)} trials, {int(rows['on_front'].sum())} on the front", fontsize=12)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    if path is not None:
        figure.write(path)
    return figure


def _across(one: str, other: str, objectives: Mapping[str, str]) -> tuple[str, str]:
    """What costs goes to the right, what is gained goes up."""
    swap = objectives[one] == DIRECTIONS[1] and objectives[other] == DIRECTIONS[0]
    return (other, one) if swap else (one, other)
