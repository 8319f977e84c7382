"""Pooling layouts as a picture: each a strip of scales, with what it is worth beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nasplat.errors import NasplatError
from nasplat.report.panel import BETTER, DOTS, FRONT, INK, NOISY, SOFT, half_spread
from nasplat.report.rows import complete_rows
from nasplat.space import runs

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SCALES = ("#f2c14e", "#8fd0b3", "#5b8fd6", "#8a67b8", "#c0568a", "#5c6773", "#26323f")
"""Colours of the scales, the finest first."""
EXPERTS = ("#4e79a7", "#f28e2b", "#59a14f", "#b07aa1", "#e15759", "#9c755f", "#76b7b2", "#bab0ac")
CELL, PANEL = 0.25, 2.3  # inches: the side of a cell, the width of an objective

Part: TypeAlias = tuple[
    float, "Callable[[Axes], None]"
]  # of a picture: its width in inches, and what draws it


def plot_layouts(
    frame: pd.DataFrame,
    objectives: Mapping[str, str],
    *,
    units: Mapping[str, str] | None = None,
    title: str = "",
    path: Path | None = None,
) -> Figure:
    """Each layout as a strip with a cell for each block, coloured by scale; beside it its expert and its objectives.

    frame: one row a layout, named by the column `pools` ("4-3-3": four blocks on the first scale, then three, then
    three); one column per objective (rows with a NaN there are left out). Optional: `pool1`, `pool2`, ... (the kinds of
    its down-samplings), `expert` (the number of the set of weights that it has), and `on_front`, `noisy`, `feasible`
    and `<objective>_iqr` as for `plot_front`.
    objectives: name to "minimize" or "maximize"; the first one orders the rows, the best on top. units: name to unit.
    path: where to save it as .png, .svg or .pdf. ValueError: a column that is not there.
    NasplatError: no layout has all objectives, or they are of different bodies.
    """
    from nasplat.report.picture import Picture

    rows = _ordered(frame, objectives)
    parts = list(_parts(rows, objectives, units or {}))
    widths = [width for width, _ in parts]
    figure = Picture(2.0 + sum(widths) + 0.5 * len(parts), 1.7 + CELL * len(rows))
    panels = figure.subplots(1, len(parts), width_ratios=widths, sharey=True, squeeze=False)[0]
    for axes, (_, draw) in zip(panels, parts, strict=True):
        axes.spines[:].set_visible(False)
        axes.tick_params(colors=INK, length=0, labelsize=9)
        draw(axes)
    panels[0].set_ylim(len(rows) - 0.5, -0.5)  # for all of them
    figure.suptitle(title or f"{len(rows)} layouts", fontsize=12)
    marks = {
        label: mark for axes in panels for mark, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        marks.values(), marks.keys(), loc="outside lower center", ncols=5, frameon=False, fontsize=9
    )
    if path is not None:
        figure.write(path)
    return figure


def _ordered(frame: pd.DataFrame, objectives: Mapping[str, str]) -> pd.DataFrame:
    """The complete rows, the best by the first objective on top."""
    if "pools" not in frame:
        raise ValueError(f"the frame has no column 'pools'; its columns are {list(frame.columns)}")
    numbered = frame if "number" in frame else frame.assign(number=range(len(frame)))
    rows = complete_rows(numbered, objectives)
    if len({sum(runs(str(layout))) for layout in rows["pools"]}) != 1:
        raise NasplatError(
            f"{len(rows)} layouts to draw: give at least one, and all of the same number of blocks"
        )
    first, direction = next(iter(objectives.items()))
    return rows.sort_values([first, "number"], ascending=[direction == "minimize", True])


def _parts(rows: pd.DataFrame, objectives: Mapping[str, str], units: Mapping[str, str]) -> Sequence[Part]:
    """What stands side by side, from the left."""
    cells = np.array([_scales(str(layout)) for layout in rows["pools"]])
    parts: list[Part] = [(CELL * cells.shape[-1], partial(_strips, rows, cells))]
    if "expert" in rows:
        parts.append((CELL, partial(_experts, rows["expert"].astype(int).tolist())))
    for name, direction in objectives.items():
        unit = units.get(name, "1")
        heading = f"{name}{'' if unit in ('', '1') else f' [{unit}]'}, {BETTER[direction]}"
        parts.append((PANEL, partial(_values, rows, name, heading)))
    return parts


def _scales(layout: str) -> list[int]:
    """The scale of every block, 0 for full resolution."""
    return [scale for scale, blocks in enumerate(runs(layout)) for _ in range(blocks)]


def _strips(rows: pd.DataFrame, cells: NDArray[np.int64], axes: Axes) -> None:
    blocks = cells.shape[-1]
    _mesh(axes, np.array(SCALES)[cells % len(SCALES)])
    for scale in range(cells.max() + 1):
        size = f"1/{2**scale} of the size" if scale else "full size"
        axes.scatter([], [], marker="s", s=60, color=SCALES[scale % len(SCALES)], label=size)
    kinds = [name for name in rows if str(name).removeprefix("pool").isdigit()]
    names = [" ".join(map(str, row)) for row in rows[["pools", *kinds]].to_numpy()]
    axes.set_yticks(range(len(rows)), names)
    axes.set_xticks([1, *range(5, blocks + 1, 5)])
    axes.set_xlabel("block", color=SOFT, fontsize=9)


def _experts(owners: Sequence[int], axes: Axes) -> None:
    _mesh(axes, np.array([[EXPERTS[owner % len(EXPERTS)]] for owner in owners]))
    for y, owner in enumerate(owners):
        axes.text(1, y, str(owner), ha="center", va="center", color="white", fontsize=8)
    axes.set_xticks([])
    axes.set_xlabel("expert", color=SOFT, fontsize=9)


def _mesh(axes: Axes, colours: NDArray[np.str_]) -> None:
    """A grid of cells (rows, columns), centred on 0, 1, ... downwards and 1, 2, ... to the right."""
    from matplotlib.colors import to_rgb

    high, wide = colours.shape
    rgb = np.array([[to_rgb(colour) for colour in line] for line in colours])
    edges = np.arange(wide + 1) + 0.5, np.arange(high + 1) - 0.5
    axes.pcolormesh(*edges, rgb, edgecolors="white", linewidth=1.5)


def _values(rows: pd.DataFrame, name: str, heading: str, axes: Axes) -> None:
    """A dot for each row, with its inter-quartile range where it has one, and its number at the right."""
    values, heights = rows[name].to_numpy(dtype=np.float64), np.arange(len(rows))
    front, noisy = rows["on_front"].to_numpy(), rows["noisy"].to_numpy()
    spread = half_spread(rows, name)
    for label, colour, part in (
        ("not on the front", DOTS, ~front),
        ("front", FRONT, front & ~noisy),
        ("front, noisy measurement", NOISY, front & noisy),
    ):
        if part.any():
            bars = None if spread is None else spread[part]
            axes.errorbar(
                values[part], heights[part], xerr=bars, fmt="o", color=colour, markersize=5.5, label=label
            )
    at_right = axes.get_yaxis_transform()
    for y, value in enumerate(values):
        axes.text(1.02, y, _short(value), transform=at_right, va="center", fontsize=8.5, color=INK)
    axes.set_xlabel(heading, color=SOFT, fontsize=9)
    axes.locator_params(axis="x", nbins=5)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}" if abs(value) < 1e4 else _short(value))
    axes.grid(color="#e6eaee", linewidth=0.8)
    axes.set_axisbelow(True)


def _short(value: float) -> str:
    """Three digits, with the letter of a unit from 10,000 on."""
    from matplotlib.ticker import EngFormatter

    return EngFormatter(places=1, sep="").format_eng(value) if abs(value) >= 1e4 else f"{value:#.3g}"
