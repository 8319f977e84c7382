"""The tables of the study, from its rows."""

from __future__ import annotations

import pandas as pd

NOISY = (
    "gold_6240",
    "silver_4114",
    "2080ti_1",
    "essential_ph_1",
    "pixel2",
    "pixel3",
    "samsung_a50",
    "samsung_s7",
)
"""Settings of nb201 whose noise is not that of single networks: whole stretches of the table are slower."""
MODELS = ("eyeriss", "fpga")
"""Settings that were computed, not measured."""

OWN = (
    "MACs",
    "table",
    "GNN",
    "latency",
    "latency, 12,000",
    "trees, 12,000, squares",
    "trees, 12,000, absolute",
)
REFERENCES = OWN[4:]
TITLE = "learned from 900 networks of the device itself, % of the test networks within 10 % (within 5 %)"
FEW = ("MACs", "nearest device", "table", "transfer, random", "transfer, chosen")


def tables(rows: pd.DataFrame) -> str:
    """Everything as Markdown."""
    parts = []
    for name in rows[rows.job.str.startswith("device/")].benchmark.unique():
        parts += [f"### {name}: {TITLE}", _shares(rows, name)]
        parts += [_goal_of_shares(rows)] if name == "nb201" else []
    few = rows[rows.job.str.startswith("transfer/")]
    for name in few.benchmark.unique():
        for scope in few[few.benchmark == name].method.str.extract(", (\\w+) left out$")[0].unique():
            parts += [
                f"### {name}: a new device, Spearman, {scope} left out of the pool",
                _ranks(rows, name, scope),
            ]
            parts += [_goal_of_ranks(rows)] if (name, scope) == ("nb201", "family") else []
    return "\n\n".join(parts)


def _shares(rows: pd.DataFrame, benchmark: str) -> str:
    """Means over the seeds, and the rank correlation of the default predictor."""
    own = rows[(rows.benchmark == benchmark) & rows.job.str.startswith("device/")]
    means = own.groupby(["device", "method"], sort=False)[["within_5", "within_10", "spearman"]].mean()
    methods = [m for m in OWN if m in set(own.method)]
    lines = [_line(["device", *methods, "Spearman"]), _line(["---"] * (len(methods) + 2))]
    for device in own.device.unique():
        cells = [
            f"{100 * means.within_10[device, m]:.1f} ({100 * means.within_5[device, m]:.0f})" for m in methods
        ]
        mark = " (noisy)" if device in NOISY and benchmark == "nb201" else ""
        lines.append(_line([device + mark, *cells, f"{means.spearman[device, 'latency']:.3f}"]))
    return "\n".join(lines)


def _goal_of_shares(rows: pd.DataFrame) -> str:
    """How many settings reach what was asked for."""
    own = rows[(rows.benchmark == "nb201") & rows.job.str.startswith("device/")]
    share = own.groupby(["device", "method"])["within_10"].mean().unstack()
    repeat = share.drop([*NOISY, *MODELS], errors="ignore")
    noisy = share[share.index.isin(NOISY)]
    said = [
        f"95 % within 10 %, of the {len(repeat)} settings that repeat: "
        + _counts(repeat[list(OWN[:4])] >= 0.95)
    ]
    for reference in REFERENCES:
        reached = noisy["latency"] >= noisy[reference] - 1e-9
        missed = (noisy[reference] - noisy["latency"])[~reached]
        told = ", ".join(f"{name} by {100 * gap:.1f}" for name, gap in missed.items())
        said.append(
            f"{int(reached.sum())} of {len(noisy)} noisy settings reach {reference!r}"
            + (f"; missed: {told}" if told else "")
        )
    return "\n".join(f"- {line}." for line in said)


def _ranks(rows: pd.DataFrame, benchmark: str, scope: str) -> str:
    """Mean Spearman over the draws, 10 and 20 samples."""
    few = _few(rows, benchmark, scope)
    means = few.set_index(["device", "way", "labels"])["spearman"]
    methods = [m for m in FEW if m in set(few.way)]
    ceiling = _ceiling(rows, benchmark)
    columns = [f"{method}, {labels}" for labels in (10, 20) for method in methods]
    lines = [_line(["device", *columns, "own labels"]), _line(["---"] * (len(columns) + 2))]
    for device in [] if scope == "kind" else few.device.unique():  # what is hardest, by its mean alone
        cells = [f"{means[device, method, labels]:.3f}" for labels in (10, 20) for method in methods]
        lines.append(_line([device, *cells, f"{ceiling[device]:.3f}"]))
    overall = few.groupby(["labels", "way"])["spearman"].mean()
    cells = [f"{overall[labels, method]:.3f}" for labels in (10, 20) for method in methods]
    return "\n".join([*lines, _line(["mean", *cells, f"{ceiling[few.device.unique()].mean():.3f}"])])


def _goal_of_ranks(rows: pd.DataFrame) -> str:
    few, ceiling = _few(rows, "nb201", "family"), _ceiling(rows, "nb201")
    said = []
    for labels in (10, 20):
        means = few[few.labels == labels].pivot(index="device", columns="way", values="spearman")[list(FEW)]
        relative = means.div(ceiling.reindex(means.index), axis=0)
        said.append(f"{labels} samples, Spearman at least 0.95, of {len(means)}: {_counts(means >= 0.95)}")
        met = (means >= 0.95) | (relative >= 0.97)
        said.append(f"{labels} samples, at least 0.95 or 0.97 of the best with 12,000 labels: {_counts(met)}")
    return "\n".join(f"- {line}." for line in said)


def _few(rows: pd.DataFrame, benchmark: str, scope: str) -> pd.DataFrame:
    end = f", {scope} left out"
    few = rows[(rows.benchmark == benchmark) & rows.method.str.endswith(end)]
    return few.assign(way=few.method.str.removesuffix(end))


def _ceiling(rows: pd.DataFrame, benchmark: str) -> pd.Series:
    """The best Spearman with the most labels of the device itself: 12,000 on nb201, 900 elsewhere."""
    methods = REFERENCES if benchmark == "nb201" else OWN[:4]
    own = rows[(rows.benchmark == benchmark) & rows.method.isin(methods) & rows.job.str.startswith("device/")]
    return own.groupby(["device", "method"])["spearman"].mean().groupby("device").max()


def _counts(reached: pd.DataFrame) -> str:
    return ", ".join(f"{method} {int(count)}" for method, count in reached.sum().items())


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
