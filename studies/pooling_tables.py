"""What the rows of the pooling studies say: rank correlation, regret and inherited accuracy of each supernet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations

import numpy as np
import pandas as pd
from intervals import cell, gaps, verdict
from numpy.typing import NDArray

from nasplat.supernet.probes import kendall

MEASURES = {"kendall_tau": 1, "tau_by_loss": 1, "tau_of_best_expert": 1, "regret": -1, "mean": 1}
"""What is compared, and whether more of it is better."""

COSTS = ("steps", "seconds")
RANKINGS = {"kendall_tau": ("value", 1), "tau_by_loss": ("loss", -1), "tau_of_best_expert": ("best", 1)}
"""The columns that rank the layouts, and whether more of them is better."""


def truth_of(rows: pd.DataFrame) -> dict[str, float]:
    """Test accuracy of each layout trained alone: the mean over seeds."""
    return dict(rows[rows["method"] == "alone"].groupby("layout")["test"].mean())


def summary(rows: pd.DataFrame, truth: Mapping[str, float]) -> pd.DataFrame:
    """One row for each method and seed that has all layouts of the truth."""
    trained = rows[rows["method"] != "alone"].groupby(["method", "seed"], sort=False)
    found = [
        {
            "method": name,
            "seed": seed,
            **measures(part.set_index("layout"), truth),
            "origin": part["origin"].iloc[0],
        }
        for (name, seed), part in trained
        if set(part["layout"]) == set(truth)
    ]
    return pd.DataFrame(found, columns=["method", "seed", *MEASURES, "chosen", *COSTS, "unit", "origin"])


def measures(part: pd.DataFrame, truth: Mapping[str, float]) -> dict[str, object]:
    """Of one method and seed: how it ranks the layouts, what its choice loses, what all of them inherit."""
    found: dict[str, object] = {
        name: kendall(dict(sign * part[column]), truth) if part[column].notna().all() else np.nan
        for name, (column, sign) in RANKINGS.items()
    }
    chosen = str(part["value"].idxmax())
    found |= {"regret": max(truth.values()) - truth[chosen], "mean": part["test"].mean(), "chosen": chosen}
    return found | {cost: part[cost].iloc[0] for cost in COSTS} | {"unit": "1"}


def table(found: pd.DataFrame, names: Sequence[str], control: str) -> str:
    """A line for each method: means over seeds, and the paired difference to the control with a 95 % interval."""
    wide = found.set_index(["method", "seed"])
    there = [name for name in names if name in wide.index]
    columns = [c for c in (*MEASURES, *COSTS) if c in wide and wide.loc[there, c].notna().any()]
    lines = [f"| method | {' | '.join(columns)} | seeds | shown |", "|---" * (len(columns) + 3) + "|"]
    for name in there:
        mine = wide.loc[name]
        paired = name != control and control in wide.index
        beyond = gaps(mine, wide.loc[control], list(MEASURES)) if paired else {}
        told = "control" if name == control else verdict(beyond, MEASURES) if beyond else ""
        cells = [cell(mine[column], beyond.get(column)) for column in columns]
        lines.append(f"| {name} | {' | '.join(cells)} | {len(mine)} | {told} |")
    return "\n".join(lines)


def best_of(found: pd.DataFrame, names: Sequence[str]) -> str | None:
    """The method with the highest mean rank correlation among those named; None where none has been run."""
    if found.empty:
        return None
    means = found[found["method"].isin(names)].groupby("method")["kendall_tau"].mean()
    return None if means.empty else str(means.idxmax())


def ceiling(rows: pd.DataFrame) -> str:
    """What training alone gives, and how well one such training ranks the layouts for another seed's."""
    alone = rows[rows["method"] == "alone"]
    test, value = (alone.pivot(index="layout", columns="seed", values=column) for column in ("test", "value"))
    taus = [kendall(dict(value[a]), dict(test[b])) for a, b in permutations(test.columns, 2)]
    means = test.mean(axis=1).sort_values()
    told = (
        f"; tau of one seed's validation against another's test accuracy, the ceiling: {np.mean(taus):.3f}"
        if taus
        else ""
    )
    return (
        f"{len(means)} layouts trained alone, {test.shape[1]} seeds: test accuracy {means.mean():.3f}, from "
        f"{means.iloc[0]:.3f} ({means.index[0]}) to {means.iloc[-1]:.3f} ({means.index[-1]}){told}."
    )


def resampled(
    rows: pd.DataFrame, method: str, truth: Mapping[str, float], draws: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The rank correlation of a method, as the mean over its seeds, on each resampling of the layouts (draws,).

    draws: how often each layout, in the order of the truth, was drawn (draws, layouts). A layout drawn twice is a tie
    with itself in both rankings, which tau-b leaves out.
    """
    wide = rows[rows["method"] == method].pivot(index="seed", columns="layout", values="value")[list(truth)]
    signs = np.sign(np.subtract.outer(*2 * [np.array(list(truth.values()))]))
    return np.mean([_taus(values, signs, draws) for values in wide.to_numpy()], axis=0)


def _taus(
    values: NDArray[np.float64], signs: NDArray[np.float64], draws: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Tau-b for every row of numbers of copies: w' (X * T) w / sqrt(w' |X| w  w' |T| w), X and T signs of pairs."""
    mine = np.sign(np.subtract.outer(values, values))

    def form(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        product: NDArray[np.float64] = np.einsum("di,ij,dj->d", draws, matrix, draws, optimize=True)
        return product

    with np.errstate(invalid="ignore"):  # no order, where all values are the same
        return form(mine * signs) / np.sqrt(form(np.abs(mine)) * form(np.abs(signs)))


def bootstrap_table(
    rows: pd.DataFrame, truth: Mapping[str, float], names: Sequence[str], rivals: Sequence[str]
) -> str:
    """A line for each method: its tau, and its lead over each rival, with 95 % bootstrap intervals over layouts."""
    n = len(truth)
    draws = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), 10_000).astype(float)
    there = [name for name in dict.fromkeys((*names, *rivals)) if name in set(rows["method"])]
    taus = {name: resampled(rows, name, truth, np.vstack([np.ones(n), draws])) for name in there}
    rivals = [name for name in rivals if name in taus]
    lines = [
        f"| method | tau | {' | '.join(f'against {r}' for r in rivals)} |",
        "|---" * (len(rivals) + 2) + "|",
    ]
    for name in there:
        leads = [_interval(taus[name] - taus[rival]) if rival != name else "" for rival in rivals]
        lines.append(f"| {name} | {_interval(taus[name])} | {' | '.join(leads)} |")
    return "\n".join(lines)


def _interval(values: NDArray[np.float64]) -> str:
    """The value on the layouts as they are, which comes first, and the middle 95 % of the resampled ones."""
    low, high = np.nanquantile(values[1:], [0.025, 0.975])
    return f"{values[0]:+.3f} [{low:+.3f}, {high:+.3f}]"
