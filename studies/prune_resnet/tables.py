"""The tables of results.csv: every method beside L2, by paired differences over networks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import pandas as pd
from intervals import Gap, gaps
from methods import AT_ONCE, METANETWORK, SET_AWARE, UNPRUNED

CONTROL = "L2"
ACCURACIES = {
    "prepared": "before the cut",
    "cut": "cut",
    "cut, recalibrated": "cut, norms recalibrated",
    "validation": "finetuned, validation",
    "test": "finetuned, test",
}
COMPARED = ("cut, recalibrated", "validation", "test")
SECONDS = ("preparing seconds", "plan seconds", "finetuning seconds")
ONCE = ("data models seconds", "meta-training seconds")
NONE = ""


def tables(rows: pd.DataFrame) -> str:
    """All that there are rows for, as Markdown."""
    if rows.empty:
        return "nothing has been measured yet"
    found: dict[str, str] = {}
    for epochs, own in sorted(rows[rows["epochs"] > 0].groupby("epochs"), reverse=True):
        speedups = sorted(set(own["speedup"]) - {1.0})
        found |= {f"{epochs} epochs, {speedup:g}x": accuracy(own, speedup) for speedup in speedups}
        found |= {f"{epochs} epochs: {title}": table for title, table in rivals(own).items()}
        costs_of = costs(pd.concat([own, rows[rows["epochs"] == 0]]))
        found |= {f"{epochs} epochs: {title}": table for title, table in costs_of.items()}
    found |= latencies(rows)
    return "\n\n".join(f"### {title}\n\n{table}" for title, table in found.items())


def accuracy(rows: pd.DataFrame, speedup: float) -> str:
    """A line for each method at one speed-up: means over networks in percent, and differences to L2."""
    wide = of(rows, speedup)
    heads = ["method", "networks", *ACCURACIES.values(), "MACs left", "parameters left"]
    lines = [line(heads), line(["---"] * len(heads))]
    for name in order(wide):
        mine = wide.loc[name]
        gap = gaps(mine, wide.loc[CONTROL], COMPARED) if CONTROL in wide.index and name != CONTROL else {}
        cells = [percent(mine[w], gap.get(w)) if w in mine else NONE for w in ACCURACIES]
        left = [f"{mine[f'{w} left'].mean():.3f}" for w in ("MACs", "parameters")]
        lines.append(line([name, str(len(mine)), *cells, *left]))
    return "\n".join(lines)


def rivals(rows: pd.DataFrame) -> dict[str, str]:
    """By how much the metanetworks are ahead of every other method on test images, after finetuning."""
    metas = [name for name in (METANETWORK, AT_ONCE, SET_AWARE) if name in set(rows["method"])]
    wides = {s: of(rows, s) for s in sorted(set(rows["speedup"]) - {1.0})}
    wides = {s: wide for s, wide in wides.items() if (wide.index.get_level_values(0) == CONTROL).sum() > 1}
    if not metas or not wides:
        return {}
    heads = ["method", *(f"{meta}, {s:g}x" for s in wides for meta in metas)]
    lines = [line(heads), line(["---"] * len(heads))]
    for name in order(next(iter(wides.values()))):
        pairs = ((wide, meta) for wide in wides.values() for meta in metas)
        lines.append(line([name, *(ahead(wide, meta, name) for wide, meta in pairs)]))
    return {"metanetworks ahead by, percentage points of test accuracy": "\n".join(lines)}


def ahead(wide: pd.DataFrame, meta: str, name: str) -> str:
    """The paired difference of test accuracies."""
    if meta == name or not {meta, name} <= set(wide.index.unique("method")):
        return NONE
    gap = gaps(wide.loc[meta], wide.loc[name], ["test"])
    return told(gap["test"]) if gap else NONE


def of(rows: pd.DataFrame, speedup: float) -> pd.DataFrame:
    """Measures in columns, by method and network; the unpruned network is there at every speed-up."""
    own = rows[(rows["speedup"] == speedup) | (rows["method"] == UNPRUNED)]
    own = own[~own["job"].str.startswith("latency")]
    return own.pivot_table(index=["method", "network"], columns="what", values="value", sort=False)


def order(wide: pd.DataFrame) -> list[str]:
    """The unpruned network and L2 first, then by accuracy."""
    means = wide.groupby(level="method")["test"].mean().sort_values(ascending=False)
    first = [name for name in (UNPRUNED, CONTROL) if name in means]
    return [*first, *(name for name in means.index if name not in first)]


def percent(values: pd.Series, gap: Gap | None = None) -> str:
    """A mean accuracy in percent, with the difference to the control where there is one."""
    values = values.dropna()
    mean = "" if values.empty else f"{100 * values.mean():.1f}"
    return mean if gap is None or not mean else f"{mean} ({told(gap)})"


def told(gap: Gap) -> str:
    """A difference with its interval, in percentage points."""
    return f"{100 * gap[0]:+.2f} ± {100 * gap[1]:.2f}"


def costs(rows: pd.DataFrame) -> dict[str, str]:
    """What each method costs for one network, and after how many networks the training of a metanetwork pays."""
    pruned = rows[~rows["method"].isin([UNPRUNED]) & rows["what"].isin(SECONDS)]
    if pruned.empty:
        return {}
    each = pruned.groupby(["method", "network", "speedup", "what"])["value"].sum().unstack("what")
    each = each.reindex(columns=SECONDS).fillna(0.0).groupby(level="method").mean()
    each["all"] = each.sum(axis=1)
    once = dict(rows[rows["what"].isin(ONCE)].groupby("method")["value"].sum())
    metas = [name for name in (SET_AWARE,) if name in once and name in each.index]
    heads = ["method", *SECONDS, "all", "meta-training, once", f"{SET_AWARE} pays after"]
    lines = [line(heads), line(["---"] * len(heads))]
    for name, row in each.sort_values("all").iterrows():
        pays = (
            NONE
            if name in once or not metas
            else after(once[SET_AWARE], row["all"], each.loc[SET_AWARE, "all"])
        )
        train = f"{once[name]:.0f}" if name in once else NONE
        lines.append(line([str(name), *(f"{row[w]:.1f}" for w in (*SECONDS, "all")), train, pays]))
    return {"seconds of one processor for one network": "\n".join(lines)}


def after(once: float, before: float, now: float) -> str:
    """After how many networks something is cheaper that costs so much once; a saving of under a tenth is noise."""
    return f"{math.ceil(once / (before - now))}" if before - now > 0.1 * before else "never"


def latencies(rows: pd.DataFrame) -> dict[str, str]:
    """Measured milliseconds of network 0 beside the multiply-adds that are left."""
    own = rows[rows["job"].str.startswith("latency")]
    if own.empty:
        return {}
    wide = own.pivot_table(index=["speedup", "method"], columns="what", values="value")
    whole = wide.xs(UNPRUNED, level="method").iloc[0]
    names = sorted(wide.columns, key=len)
    heads = ["asked", "method", "MACs, speed-up", *(part for n in names for part in (n, "speed-up"))]
    lines = [line(heads), line(["---"] * len(heads))]
    left = rows[rows["what"] == "MACs left"].groupby(["speedup", "method", "network"])["value"].first()
    for (speedup, name), row in wide.iterrows():
        cells = [c for n in names for c in (f"{row[n]:.3f}", f"{whole[n] / row[n]:.2f}")]
        lines.append(line([f"{speedup:g}x", name, f"{1 / left.loc[speedup, name, 0]:.2f}", *cells]))
    return {"Latency, one thread": "\n".join(lines)}


def line(cells: Sequence[str] | Iterator[str]) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(cells)} |"
