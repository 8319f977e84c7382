"""A plan to read: a table of widths, and bars."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from nasplat.prune.plan import Plan

NAME = 34
"""Longer names are shortened."""


def table(plan: Plan) -> str:
    """One line for each group, then frozen ones with their reasons, then sizes."""
    return "\n".join(_lines(plan))


def _lines(plan: Plan) -> Iterator[str]:
    yield f"Pruning plan for {plan.network}: {plan.target or 'no target'}, by {plan.score or 'given channels'}"
    yield f"  {'group':<{NAME}} {'kind':<9} {'before':>6} {'after':>6}"
    for group in plan.groups:
        if not group.reason:
            yield f"  {_short(group.name):<{NAME}} {group.kind:<9} {group.before:>6} {group.after:>6}"
    for name, reason in plan.frozen.items():
        yield f"  {_short(name):<{NAME}} stays whole: {reason}"
    for what, pair in {"MACs": plan.macs, "parameters": plan.params, "latency, ms": plan.latency_ms}.items():
        if pair:
            shown = " -> ".join(f"{one:,.3f}" if isinstance(one, float) else f"{one:,}" for one in pair)
            yield f"  {what}: {shown} ({pair[0] / max(pair[1], 1e-12):.2f}x)"


def draw_widths(plan: Plan, path: str | Path | None = None) -> Figure:
    """A bar for each group, what stays of it filled, in the order of the network."""
    from nasplat.channels.picture import Diagram

    groups = plan.groups
    figure = Diagram(7, 1.2 + 0.24 * max(1, len(groups)))
    figure.set_layout_engine("constrained")
    axes = figure.subplots()
    places = range(len(groups))
    axes.barh(places, [group.before for group in groups], color="#d9dde3", label="before")
    colours = ["#9aa4b2" if group.reason else "#2b6cb0" for group in groups]
    axes.barh(places, [group.after for group in groups], color=colours, label="after")
    for place, group in enumerate(groups):
        note = "  frozen" if group.reason else f"  {group.after} of {group.before}"
        axes.text(group.before, place, note, va="center", fontsize=7)
    axes.set_yticks(list(places), [_short(group.name) for group in groups], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("units that stay")
    axes.set_xlim(0, 1.18 * max((group.before for group in groups), default=1))
    speedup = "" if plan.speedup is None else f", {plan.speedup:.2f}x fewer MACs"
    axes.set_title(f"{plan.network}{speedup}", fontsize=9)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if path is not None:
        figure.savefig(path)
    return figure


def _short(name: str) -> str:
    return name if len(name) <= NAME else name[: NAME - 3] + "..."
