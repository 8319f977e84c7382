"""The channels of a network as a picture: rows of neurons from left to right, and what connects them."""

from __future__ import annotations

import io
import math
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from itertools import count, groupby
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, PathPatch, Polygon, Rectangle
from matplotlib.path import Path as Line

from nasplat.channels.readable import row_edges
from nasplat.channels.spec import ChannelSpec
from nasplat.errors import NasplatError
from nasplat.files import write_atomic

TYPES = (".png", ".svg", ".pdf")
SHARED = ("#5b8fd6", "#e0963a", "#5aae7f", "#8a67b8", "#c0568a", "#3fa7b5", "#b59a2e", "#9c6b4f")
"""Colours of spaces that several rows share, in turn."""

ALONE, FIXED, FROZEN, WEIGHTS = "#c3cfdb", "#5c6773", "#f4f1ec", "#9aa7b4"
INK, SOFT = "#26323f", "#6c7884"
JOINED = {"sum": "#d9695f", "product": "#8a67b8", "gate": "#8a67b8", "attention": "#c0568a"}
"""Colours of joins by kind; all others are SOFT."""

BAR, MARGIN = 0.2, 0.6
BANDS = 8
"""How many groups of a block are drawn apart at most."""


class Diagram(Figure):
    """A matplotlib figure without pyplot behind it, which a notebook shows all the same."""

    def __init__(self, width: float, height: float) -> None:
        super().__init__(figsize=(width, height), dpi=120)
        FigureCanvasAgg(self)

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        self.savefig(content, format="png")
        return content.getvalue()


def draw_channels(spec: ChannelSpec, path: str | Path | None = None) -> Figure:
    """The rows of neurons in order of running, each as high as the logarithm of its size.

    Rows of one colour share channels: they are permuted together. Pale rows are permuted on their own, dark ones keep
    their order, hatched ones are frozen. Weights lie between neighbours, or go above them to rows further on; joins go
    above, dashed. NasplatError: a path that ends neither in .png nor in .svg or .pdf.
    """
    if path is not None and Path(path).suffix not in TYPES:
        raise NasplatError(
            f"a picture cannot be saved as {Path(path).name!r}; choose a name that ends with one of {TYPES}"
        )
    layout = Layout(spec)
    figure = Diagram(layout.width, layout.top + layout.bottom)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(-MARGIN, layout.width - MARGIN), ylim=(-layout.bottom, layout.top))
    axes.set_axis_off()
    _links(axes, layout)
    _bars(axes, layout)
    _legend(axes, layout)
    if path is not None:
        content = io.BytesIO()
        figure.savefig(content, format=Path(path).suffix[1:])
        write_atomic(Path(path), content.getvalue())
    return figure


@dataclass(frozen=True, slots=True)
class Link:
    """From row to row: the groups of a block's weights, 0 for a join."""

    source: int
    target: int
    kind: str
    groups: int

    @property
    def above(self) -> bool:
        """Whether it goes above the rows."""
        return not self.groups or self.target != self.source + 1


@dataclass(frozen=True)
class Layout:
    """Where everything stands, in inches: row n in the middle of (n * step, 0)."""

    spec: ChannelSpec

    @cached_property
    def step(self) -> float:
        """From row to row: less in a deep network."""
        return min(0.9, max(0.32, 16.0 / max(len(self.heights), 1)))

    @cached_property
    def heights(self) -> list[float]:
        """Of every row."""
        return [0.1 + 0.25 * math.log2(len(row) + 1) for row in self.spec.structure.neurons]

    @cached_property
    def links(self) -> list[Link]:
        """Of all blocks and joins."""
        found = row_edges(self.spec.structure)
        return [
            Link(source, target, about["kind"], about.get("groups", 0)) for source, target, _, about in found
        ]

    @cached_property
    def width(self) -> float:
        """Of the whole picture."""
        return max(len(self.heights) * self.step + 2 * MARGIN, 1.5 + 1.2 * len(_handles(self)))

    @cached_property
    def top(self) -> float:
        """Room above the middle line."""
        return 0.15 + max([max(self.heights) / 2, *(self.rise(link) for link in self.links if link.above)])

    @cached_property
    def bottom(self) -> float:
        """Room below the middle line: names, and the legend."""
        longest = max(len(row.name) for row in self.spec.structure.neurons) + 6
        return max(self.heights) / 2 + 0.15 + 0.055 * longest + 0.35

    def rise(self, link: Link) -> float:
        """The height of a link that goes above the rows: over all that it spans."""
        first, last = sorted((link.source, link.target))
        return max(self.heights[first : last + 1]) / 2 + 0.1 + 0.13 * math.log2(last - first + 1)


def _links(axes: Axes, layout: Layout) -> None:
    for link in layout.links:
        if link.above:
            colour, style = (WEIGHTS, "-") if link.groups else (JOINED.get(link.kind, SOFT), "--")
            axes.add_patch(
                PathPatch(_arc(layout, link), fill=False, edgecolor=colour, linestyle=style, linewidth=1.0)
            )
            continue
        bands = min(link.groups, BANDS)
        for band in range(bands):
            corners = _band(layout, link.source, band / bands, (band + 1 - 0.3 * (bands > 1)) / bands)
            axes.add_patch(Polygon(corners, facecolor=WEIGHTS, alpha=0.3, linewidth=0))


def _arc(layout: Layout, link: Link) -> Line:
    """From the top of one bar to the top of another."""
    beside = BAR / 3 if link.source == link.target else 0.0
    x0, x1 = link.source * layout.step - beside, link.target * layout.step + beside
    y0, y1 = layout.heights[link.source] / 2, layout.heights[link.target] / 2
    peak = (4 * layout.rise(link) - (y0 + y1) / 2) / 3  # where a cubic curve must aim to rise that high
    return Line([(x0, y0), (x0, peak), (x1, peak), (x1, y1)], [Line.MOVETO, *(Line.CURVE4,) * 3])


def _band(layout: Layout, source: int, first: float, last: float) -> list[tuple[float, float]]:
    """The corners of a stripe between neighbours, from share `first` to share `last` of their heights."""
    left, right = source * layout.step + BAR / 2, (source + 1) * layout.step - BAR / 2
    near, far = layout.heights[source : source + 2]
    return [
        (x, h * (share - 0.5))
        for x, h, share in zip(
            (left, right, right, left), (near, far, far, near), (first, first, last, last), strict=True
        )
    ]


def _bars(axes: Axes, layout: Layout) -> None:
    fills = _fills(layout.spec)
    base = max(layout.heights) / 2 + 0.1
    size = 8.0 if layout.step > 0.5 else 6.5
    for n, (row, height) in enumerate(zip(layout.spec.structure.neurons, layout.heights, strict=True)):
        x = n * layout.step
        held = _space_of(layout.spec, row.start, row.stop)
        y, unit = height / 2, height / len(row)
        for space, run in groupby(held):
            part = unit * len(list(run))
            y -= part
            fill, hatch = fills[space], "////" if fills[space] == FROZEN else None
            axes.add_patch(
                Rectangle(
                    (x - BAR / 2, y), BAR, part, facecolor=fill, edgecolor=INK, linewidth=0.7, hatch=hatch
                )
            )
        place: dict[str, Any] = {
            "rotation": 55,
            "rotation_mode": "anchor",
            "ha": "right",
            "va": "top",
            "fontsize": size,
        }
        axes.text(x + 0.05, -base, f"{row.name}  {len(row):,}", color=INK, **place)


def _space_of(spec: ChannelSpec, start: int, stop: int) -> list[int]:
    """The space of every neuron from start to stop."""
    starts = np.array([space.start for space in spec.spaces])
    order = np.argsort(starts, kind="stable")
    found: list[int] = order[
        np.searchsorted(starts[order], spec.channel_of[start:stop], side="right") - 1
    ].tolist()
    return found


def _fills(spec: ChannelSpec) -> list[str]:
    """The colour of every space: one of its own where several neurons share a channel."""
    neurons = Counter(_space_of(spec, 0, spec.structure.nodes))
    turn = count()
    fills = []
    for number, space in enumerate(spec.spaces):
        if space.kind == "hidden":
            fills.append(SHARED[next(turn) % len(SHARED)] if neurons[number] > space.size else ALONE)
        else:
            fills.append(FROZEN if space.kind == "frozen" else FIXED)
    return fills


def _legend(axes: Axes, layout: Layout) -> None:
    handles = _handles(layout)
    axes.legend(handles=handles, loc="lower left", ncols=len(handles), frameon=False, fontsize=8)


def _handles(layout: Layout) -> list[Artist]:
    """What the legend explains: only what the picture shows."""
    fills = set(_fills(layout.spec))
    words = [(fill, "one colour: permuted together") for fill in SHARED if fill in fills][:1]
    words += [
        (fill, text) for fill, text in ((ALONE, "permuted alone"), (FIXED, "order fixed")) if fill in fills
    ]
    handles: list[Artist] = [
        Patch(facecolor=f, edgecolor=INK, linewidth=0.7, label=text) for f, text in words
    ]
    if FROZEN in fills:
        handles.append(Patch(facecolor=FROZEN, edgecolor=INK, linewidth=0.7, hatch="////", label="frozen"))
    handles.append(Patch(facecolor=WEIGHTS, alpha=0.5, label="weights"))
    for kind in dict.fromkeys(link.kind for link in layout.links if not link.groups):
        colour = JOINED.get(kind, SOFT)
        handles.append(Line2D([], [], color=colour, linestyle="--", linewidth=1.0, label=kind))
    return handles
