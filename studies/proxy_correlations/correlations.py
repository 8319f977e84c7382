"""How scores rank networks whose accuracies are known: with intervals, baselines and the published scores beside."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr

import nasplat as nas
from nasplat.data import data_root
from nasplat.prediction import aggregate

RESAMPLES = 1000
STORED = {"params": "params_m", "macs": "flops_m"}
"""Names of our scores in the published table, where they differ."""

TOLD = {
    "zen": "tau .296 (all networks)",
    "zico": "tau .59",
    "az (log rank)": "tau .741, rho .913 (all networks)",
}
"""Published figures of scores that the table does not hold; those of zico as recalled from AZ-NAS's tables."""

FOUR = ("macs", "nwot", "synflow", "jacov")
AZ = ("az_expressivity", "az_progressivity", "az_trainability", "macs")
TE = ("ntk", "linear_regions")
THREE = ("synflow", "jacov", "snip")
AGGREGATES = {
    "log rank of macs, nwot, synflow, jacov": (FOUR, "log_rank"),
    "az (log rank)": (AZ, "log_rank"),
    "te-nas (sum of ranks)": (TE, "mean_rank"),
    "vote of synflow, jacov, snip": (THREE, "vote"),
}


def known_scores() -> pd.DataFrame:
    """Published scores and validation accuracies (%) of 725 networks on CIFAR-10; what is not computable is NaN."""
    root = data_root()
    if root is None:
        sys.exit("set NASPLAT_DATA to the folder that holds zero_cost/ and cifar10/")
    table = pd.read_csv(root / "zero_cost" / "nb201_zc.csv.gz")
    table = table[table["dataset"] == "cifar10"].reset_index(drop=True)
    numbers = table.columns.difference(["dataset", "arch_str", "index"])
    table[numbers] = table[numbers].replace([-1e8, np.inf, -np.inf], np.nan)
    return table


def correlation_table(rows: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """A row for each score and aggregate, and the same as text."""
    known = known_scores().set_index("index")
    values = rows.astype({"value": float}).pivot(index="index", columns="score", values="value")
    directions = {name: nas.load("predictors", plug_in(name)).direction for name in values}
    signed = values * pd.Series({name: 1.0 if d == "maximize" else -1.0 for name, d in directions.items()})
    found = [_score_row(name, signed[name].dropna(how="all"), known, rows) for name in values]
    for name, (parts, how) in AGGREGATES.items():
        whole = [part for part in parts if part in values]
        if len(whole) == len(parts):
            pool = values.loc[values[whole].notna().any(axis=1) & _scored(rows, whole).reindex(values.index)]
            order = aggregate(pool, {part: directions[part] for part in whole}, how)
            found.append(
                _row(name, order, known["val_accuracy"]) | _published(parts, how, pool, directions, known)
            )
            found[-1]["published"] = found[-1].get("published", TOLD.get(name, ""))
    table = pd.DataFrame(found).sort_values("spearman", ascending=False, ignore_index=True)
    return table, _text(table)


def _published(
    parts: tuple[str, ...], how: str, pool: pd.DataFrame, directions: dict[str, str], known: pd.DataFrame
) -> dict[str, object]:
    """The same aggregate of the published scores of the same networks, where all of them are published."""
    stored = {STORED.get(part, part): directions[part] for part in parts}
    if not stored.keys() <= set(known):
        return {}
    theirs = _row("", aggregate(known.loc[pool.index], stored, how), known["val_accuracy"])
    return {
        "published": f"{theirs['spearman']:.3f} [{theirs['spearman_low']:.2f}, {theirs['spearman_high']:.2f}]"
    }


def plug_in(name: str) -> str:
    """The plug-in of a score that may be of another batch."""
    return name.partition(",")[0]


def _scored(rows: pd.DataFrame, names: list[str]) -> pd.Series:
    """Whether all the named scores were asked of a network, with or without an answer."""
    asked = rows[rows["score"].isin(names)].groupby("index")["score"].nunique()
    return asked == len(names)


def _score_row(name: str, values: pd.Series, known: pd.DataFrame, rows: pd.DataFrame) -> dict[str, object]:
    """A score beside the published one on the same networks, which may hold their own reason to be missing."""
    asked = rows[rows["score"] == name].set_index("index")
    whole = values.reindex(asked.index)
    stored = STORED.get(name, plug_in(name))
    row = _row(name, whole, known["val_accuracy"])
    row |= {"failed": int((asked["status"] != "ok").sum()), "published": TOLD.get(name, "")}
    if stored in known:
        theirs = known[stored].reindex(whole.index)
        sign = -1.0 if name == "plain" else 1.0
        beside = _row(name, sign * theirs, known["val_accuracy"])
        low, high = beside["spearman_low"], beside["spearman_high"]
        row["published"] = f"{beside['spearman']:.3f} [{low:.2f}, {high:.2f}]"
        row["inside"] = "yes" if low <= row["spearman"] <= high else "no"
        row["agreement"] = spearmanr(_last(whole), _last(sign * theirs)).statistic
    return row


def _row(name: str, values: pd.Series, truth: pd.Series) -> dict[str, float | int | str]:
    """Spearman and Kendall with 95 % intervals of 1,000 bootstrap samples of networks; the same in the best tenth."""
    mine, theirs = _last(values), truth.reindex(values.index).to_numpy()
    best = theirs >= np.quantile(theirs, 0.9)
    row: dict[str, float | int | str] = {"score": name, "networks": len(mine)}
    for measure, function in {"spearman": _spearman, "kendall": _kendall}.items():
        low, high = _bootstrap(function, mine, theirs)
        row |= {measure: function(mine, theirs), f"{measure}_low": low, f"{measure}_high": high}
    return row | {"top_spearman": _spearman(mine[best], theirs[best])}


def _last(values: pd.Series) -> NDArray[np.float64]:
    """Numbers in which what has no value comes last."""
    return values.fillna(-np.inf).rank().to_numpy(np.float64)


def _spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(spearmanr(a, b).statistic) if np.ptp(a) else float("nan")


def _kendall(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(kendalltau(a, b).statistic) if np.ptp(a) else float("nan")


def _bootstrap(
    measure: Callable[[NDArray[np.float64], NDArray[np.float64]], float],
    a: NDArray[np.float64],
    b: NDArray[np.float64],
) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    drawn = [rng.integers(len(a), size=len(a)) for _ in range(RESAMPLES)]
    found = np.nan_to_num([measure(a[d], b[d]) for d in drawn])  # equal values order nothing
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def _text(table: pd.DataFrame) -> str:
    lines = [
        "| score | networks | Spearman | Kendall | best tenth | published Spearman | inside | agreement | no value |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in table.to_dict("records"):
        cells = [
            row["score"],
            row["networks"],
            f"{row['spearman']:.3f} [{row['spearman_low']:.2f}, {row['spearman_high']:.2f}]",
            f"{row['kendall']:.3f} [{row['kendall_low']:.2f}, {row['kendall_high']:.2f}]",
            _cell(row["top_spearman"], 2),
            *(_cell(row.get(name)) for name in ("published", "inside", "agreement", "failed")),
        ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def _cell(value: object, digits: int = 3) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.{digits}f}"
    return str(value).removesuffix(".0")
