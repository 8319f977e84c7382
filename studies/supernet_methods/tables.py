"""The tables of results.csv: each method beside its control."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import permutations
from typing import Any

import pandas as pd
from scipy.stats import t

from nasplat.supernet import METHODS
from nasplat.supernet.probes import kendall

CONTROL = "sandwich"
MEASURES = {"smallest": 1, "mean": 1, "largest": 1, "NLL": -1, "tau": 1}
"""What is compared, and whether more of it is better."""

COSTS = ("passes", "seconds")
PARTS: dict[str, tuple[str, Callable[[str], str]]] = {
    "digits": ("Methods, translated digits", lambda method: CONTROL),
    "fashion": ("The best three, Fashion-MNIST at 14x14", lambda method: CONTROL),
    "norms": ("Norms, translated digits, control's method", lambda method: "batch, recalibrated"),
    "paths": (
        "Multi-path blocks: one norm, or one for each number of paths",
        lambda m: m.replace("keyed", "batch"),
    ),
    "depths": (
        "Depth alone, translated digits: ratio of full and shallow networks",
        lambda method: title(METHODS["depth_ratio"].control),
    ),
    "order": ("Channels sorted after the largest network's training alone", lambda method: "unsorted"),
}
"""Title of each part, and the control of each of its methods."""


def title(table: Mapping[str, Any]) -> str:
    """A method and its arguments, as a row is called."""
    return ", ".join(str(v) if k == "method" else f"{k} = {v}" for k, v in table.items())


def tables(rows: pd.DataFrame) -> str:
    """All parts that have rows, as Markdown."""
    there = [part for part in PARTS if part in set(rows["part"])]
    return "\n\n".join(
        f"### {PARTS[part][0]}\n\n{table(rows[rows['part'] == part], PARTS[part][1])}" for part in there
    )


def table(rows: pd.DataFrame, control: Callable[[str], str]) -> str:
    """A line for each method: means over seeds, and the paired difference to its control with a 95 % interval."""
    alone = rows["what"].str.startswith("alone")
    wide = rows[~alone].pivot_table(index=["method", "seed"], columns="what", values="value", sort=False)
    columns = [what for what in (*MEASURES, *COSTS) if what in wide]
    names = sorted(wide.index.unique("method"), key=lambda name: (control(name) != name, name))
    lines = [f"| method | {' | '.join(columns)} | shown |", "|---" * (len(columns) + 2) + "|"]
    for name in names:
        mine = wide.loc[name]
        beyond = {} if control(name) == name else differences(mine, wide.loc[control(name)])
        cells = [cell(mine[what], beyond.get(what)) for what in columns]
        told = verdict(beyond) if beyond else "control"
        lines.append(f"| {name} | {' | '.join(cells)} | {told}{own(name, wide)} |")
    return "\n".join([*lines, *truth(rows[alone])])


def own(name: str, wide: pd.DataFrame) -> str:
    """The mean accuracy of a method beside that of its own control, where that is another than the part's."""
    rival = title(METHODS[name].control) if name in METHODS else CONTROL
    if rival in (CONTROL, name) or rival not in wide.index:
        return ""
    gap, reach = differences(wide.loc[name], wide.loc[rival])["mean"]
    return f"; against {rival}: mean {gap:+.3f} ± {reach:.3f}"


def differences(mine: pd.DataFrame, other: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """The mean of the paired differences (method minus control, by seed), and half the length of its t interval."""
    gaps = (mine - other).dropna(how="all")
    n = len(gaps)
    found = {what: (gaps[what].mean(), gaps[what].std()) for what in MEASURES if what in gaps and n > 1}
    return {what: (gap, float(t.ppf(0.975, n - 1)) * std / n**0.5) for what, (gap, std) in found.items()}


def cell(values: pd.Series, beyond: tuple[float, float] | None) -> str:
    """The mean over seeds, with the difference to the control where there is one."""
    if values.mean() > 10:
        return f"{values.mean():.0f}"
    told = f"{values.mean():.3f}"
    return told if beyond is None else f"{told} ({beyond[0]:+.3f} ± {beyond[1]:.3f})"


def verdict(beyond: dict[str, tuple[float, float]]) -> str:
    """What is shown: where the interval excludes 0."""
    shown = {what: gap * MEASURES[what] > 0 for what, (gap, reach) in beyond.items() if abs(gap) > reach}
    told = [
        f"{word}: {', '.join(names)}"
        for word, names in (
            ("better", [w for w in shown if shown[w]]),
            ("worse", [w for w in shown if not shown[w]]),
        )
        if names
    ]
    return "; ".join(told) or "nothing"


def truth(rows: pd.DataFrame) -> Iterator[str]:
    """What training alone gives, and how well one such training ranks the networks for another seed's."""
    if rows.empty:
        return
    wide = rows.pivot_table(index="method", columns=["what", "seed"], values="value")
    test, validation = wide["alone, test"], wide["alone, validation"]
    taus = [kendall(dict(validation[a]), dict(test[b])) for a, b in permutations(test.columns, 2)]
    means = test.mean(axis=1)
    yield ""
    yield (
        f"{len(test)} networks trained alone, {test.shape[1]} seeds: test accuracy {means.mean():.3f} "
        f"[{means.min():.3f}, {means.max():.3f}]; tau of one seed's validation accuracy against another's test "
        f"accuracy, the ceiling: {sum(taus) / len(taus):.3f}."
    )
