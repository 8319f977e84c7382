"""One panel of a front: two columns of a frame against each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from nasplat.pareto import nondominated

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

FRONT, DOTS, KNEE, NOISY, INK, SOFT = "#2f6fb7", "#9aa5b1", "#d1495b", "#e08e0b", "#26323f", "#6c7884"
BETTER = {"minimize": "lower is better", "maximize": "higher is better"}


@dataclass(frozen=True, slots=True)
class Panel:
    """Columns `x` and `y` of the rows, with the directions and units of the objectives."""

    rows: pd.DataFrame
    objectives: Mapping[str, str]
    units: Mapping[str, str]
    x: str
    y: str

    def draw(self, axes: Axes) -> None:
        """Dots, front and knee; the legend is the figure's."""
        rows = self.rows
        self._dots(axes, rows[~rows["on_front"]])
        self._steps(axes)
        self._front(axes, rows[rows["on_front"]])
        self._knee(axes, rows[rows["knee"]])
        self._frame(axes)

    def _dots(self, axes: Axes, rows: pd.DataFrame) -> None:
        for feasible, marker, name in ((True, "o", "dominated"), (False, "x", "infeasible")):
            part = rows[rows["feasible"] == feasible]
            if len(part):
                lines = 0.0 if feasible else 1.0
                axes.scatter(
                    part[self.x],
                    part[self.y],
                    s=20,
                    marker=marker,
                    color=DOTS,
                    alpha=0.6 if feasible else 1.0,
                    linewidths=lines,
                    label=name,
                )

    def _steps(self, axes: Axes) -> None:
        """The line between what the front reaches and what it does not, in this panel's two objectives."""
        if self.x not in self.objectives:
            return
        front = self.rows[self.rows["on_front"]]
        directions = [self.objectives[self.x], self.objectives[self.y]]
        points = front.loc[nondominated(front[[self.x, self.y]], directions), [self.x, self.y]]
        ordered = points.sort_values(self.x)
        where: Literal["post", "pre"] = "post" if directions[0] == "minimize" else "pre"
        axes.step(
            ordered[self.x], ordered[self.y], where=where, color=FRONT, linewidth=1.3, alpha=0.8, zorder=3
        )

    def _front(self, axes: Axes, rows: pd.DataFrame) -> None:
        for noisy, colour, name in ((False, FRONT, "front"), (True, NOISY, "front, noisy measurement")):
            part = rows[rows["noisy"] == noisy]
            if len(part):
                axes.errorbar(
                    part[self.x],
                    part[self.y],
                    xerr=half_spread(part, self.x),
                    yerr=half_spread(part, self.y),
                    label=name,
                    fmt="o",
                    color=colour,
                    markerfacecolor="white" if noisy else colour,
                    markersize=6.5,
                    elinewidth=1.1,
                    capsize=2.5,
                    zorder=4,
                )

    def _knee(self, axes: Axes, rows: pd.DataFrame) -> None:
        """A ring and the trial's number, on the side where the front leaves room."""
        from matplotlib.patheffects import withStroke

        word = "knee" if self.x in self.objectives else "best"
        rise = -19 if self.objectives[self.y] == "maximize" else 12
        for number, x, y in zip(rows["number"], rows[self.x], rows[self.y], strict=True):
            axes.scatter([x], [y], s=170, facecolors="none", edgecolors=KNEE, linewidths=1.6, zorder=5)
            axes.annotate(
                f"{word}: trial {number}",
                (x, y),
                xytext=(12, rise),
                textcoords="offset points",
                color=KNEE,
                zorder=6,
                path_effects=[withStroke(linewidth=3, foreground="white")],
            )

    def _frame(self, axes: Axes) -> None:
        from matplotlib.ticker import EngFormatter

        axes.set_xlabel(self._words(self.x), color=INK)
        axes.set_ylabel(self._words(self.y), color=INK)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(SOFT)
        axes.tick_params(colors=SOFT)
        axes.grid(color="#e6eaee", linewidth=0.8, zorder=0)
        axes.set_axisbelow(True)
        for axis, column in ((axes.xaxis, self.x), (axes.yaxis, self.y)):
            if self.rows[column].abs().max() >= 1e4:
                axis.set_major_formatter(EngFormatter())  # 120 k instead of 120000

    def _words(self, column: str) -> str:
        """Name, unit and direction of an axis."""
        if column not in self.objectives:
            return "trial"
        unit = self.units.get(column, "")
        return f"{column}{f' [{unit}]' if unit not in ('', '1') else ''}, {BETTER[self.objectives[column]]}"


def half_spread(rows: pd.DataFrame, column: str) -> NDArray[np.float64] | None:
    """Half of the inter-quartile ranges of a column, 0 where a row has none; None where no row has one."""
    name = f"{column}_iqr"
    return rows[name].fillna(0.0).to_numpy(dtype=np.float64) / 2 if name in rows else None
