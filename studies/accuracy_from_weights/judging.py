"""From predictions to Kendall's tau, with intervals by resampling networks."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from methods import BASELINES, METHODS, TARGET
from networks import FAMILIES, Numbers, split
from numpy.typing import NDArray
from scipy.stats import kendalltau

Floats = NDArray[np.float64]

DRAWS = 400
MEANS = {f"{name} + statistics, forest": (name, "statistics, forest") for name in ("deep sets", "edge gated")}
"""Rows that are the mean of two others: whether these know different things."""
ROWS = (*METHODS, *MEANS)


def networks_file(zoo: str) -> str:
    """The file of the table of a zoo."""
    return f"networks_{zoo.replace(' ', '_')}.csv"


@cache
def _networks(here: Path, setting: str) -> pd.DataFrame:
    return pd.read_csv(here / networks_file("one form" if setting == "one form" else "five families"))


@cache
def _judged(here: Path, setting: str, seed: int) -> Numbers:
    return split(_networks(here, setting)["family"].to_numpy(), setting, seed)[1]


class Setting:
    """What all methods predicted in a setting, and draws of its networks with replacement, the same for all methods.

    A draw says how often each network of the zoo counts, in every seed that judges it: seeds that judge the same
    networks are not taken for independent.
    """

    def __init__(self, here: Path, name: str, rows: pd.DataFrame) -> None:
        table = _networks(here, name)
        self.truth, self.families = table[TARGET].to_numpy(), table["family"].to_numpy()
        self.judged = {seed: _judged(here, name, seed) for seed in rows["seed"].unique()}
        self.predicted: dict[str, dict[int, Floats]] = {}
        for row in rows.itertuples():
            numbers = np.array(str(row.predicted).split(), float)
            self.predicted.setdefault(str(row.method), {})[int(row.seed)] = numbers
        draws = np.random.default_rng(0).multinomial(len(table), np.full(len(table), 1 / len(table)), DRAWS)
        self.draws: list[Numbers] = list(draws)
        self._taus: dict[tuple[str, int], Floats] = {}

    def tau(self, method: str, seed: int, counts: Numbers | None = None, family: str | None = None) -> float:
        """Kendall's tau-b of a seed's judged networks, all or those of a family; counts: how often each counts."""
        places, predicted = self.judged[seed], self.predicted[method][seed]
        times = np.ones(len(places), int) if counts is None else counts[places]
        if family is not None:
            times = times * (self.families[places] == family)
        rows = np.repeat(np.arange(len(places)), times)
        return float(kendalltau(predicted[rows], self.truth[places[rows]]).statistic)

    def mean(self, method: str, seeds: list[int], counts: Numbers | None = None) -> float:
        """Mean tau over seeds."""
        return float(np.mean([self.tau(method, seed, counts) for seed in seeds]))

    def drawn(self, method: str, seeds: list[int]) -> Floats:
        """Mean tau over seeds in every draw, (draws,)."""
        return np.mean([self._drawn(method, seed) for seed in seeds], axis=0)

    def _drawn(self, method: str, seed: int) -> Floats:
        if (method, seed) not in self._taus:
            self._taus[method, seed] = np.array([self.tau(method, seed, counts) for counts in self.draws])
        return self._taus[method, seed]


def with_means(predictions: pd.DataFrame) -> pd.DataFrame:
    """The predictions, and MEANS wherever both of their rows are there."""
    found = [predictions]
    for _, rows in predictions.groupby(["setting", "seed"], sort=False):
        for name, pair in MEANS.items():
            own = rows[rows["method"].isin(pair)]
            if len(own) == len(pair):
                mean = np.mean([np.array(text.split(), float) for text in own["predicted"]], axis=0)
                told = {"method": name, "cpu_s": own["cpu_s"].sum(), "predicted": " ".join(map(str, mean))}
                found.append(own.iloc[:1].assign(**told))
    return pd.concat(found, ignore_index=True)


def results(here: Path, predictions: pd.DataFrame) -> pd.DataFrame:
    """One row for each method, seed and setting: tau, and tau within families in the mean."""
    found = []
    for name, rows in predictions.groupby("setting", sort=False):
        setting = Setting(here, str(name), rows)
        for row in rows.itertuples():
            method, seed = str(row.method), int(row.seed)
            own = np.unique(setting.families[setting.judged[seed]])
            within = [setting.tau(method, seed, family=family) for family in own]
            facts = {"setting": name, "method": method, "seed": seed, "learned": row.learned}
            told = {"judged": len(setting.judged[seed]), "kendall_tau": round(setting.tau(method, seed), 5)}
            rest = {"within_families": round(float(np.mean(within)), 5), "unit": "1"}
            found.append(facts | told | rest | {"cpu_s": row.cpu_s, "origin": row.origin})
    return pd.DataFrame(found)


def tables(here: Path, predictions: pd.DataFrame) -> str:
    """The table of every setting that learns from all families, then one of families left out."""
    parts = []
    for name in ("random", "one form"):
        rows = predictions[predictions["setting"] == name]
        if len(rows):
            parts.append(f"### {name}\n\n{_one(here, name, rows)}")
    left_out = [
        f"without {family}" for family in FAMILIES if f"without {family}" in set(predictions["setting"])
    ]
    if left_out:
        parts.append(f"### a family left out\n\n{_left_out(here, left_out, predictions)}")
    return "\n\n".join(parts)


def _one(here: Path, name: str, rows: pd.DataFrame) -> str:
    """A line for each method: tau with its interval, difference to the best baseline, tau within families, time."""
    setting, table = Setting(here, name, rows), results(here, rows).groupby("method")
    methods = [method for method in ROWS if method in setting.predicted]
    draws = {m: setting.drawn(m, sorted(setting.predicted[m])) for m in methods}
    bar = best_baseline({m: setting.mean(m, sorted(setting.predicted[m])) for m in methods})
    within = ("within families", "---") if name == "random" else ()
    lines = [_line("method", "seeds", "tau [95 %]", f"against {bar}", *within[:1], "CPU s")]
    lines.append(_line(*["---"] * (5 + len(within) // 2)))
    for method in methods:
        own, seeds = table.get_group(method), sorted(setting.predicted[method])
        common = [seed for seed in seeds if seed in setting.predicted[bar]]
        gap = "" if method == bar else _gap(setting, method, bar, common)
        inside = [f"{own['within_families'].mean():.3f}"] if within else []
        mean = f"{own['kendall_tau'].mean():.3f} {_interval(draws[method])}"
        lines.append(_line(method, len(seeds), mean, gap, *inside, f"{own['cpu_s'].mean():.0f}"))
    return "\n".join(lines)


def _left_out(here: Path, names: list[str], predictions: pd.DataFrame) -> str:
    """A column for each family, with intervals and (seeds), and the mean over families where a row has them all."""
    cells: dict[str, dict[str, str]] = {}
    means: dict[str, list[float]] = {}
    draws: dict[str, list[Floats]] = {}
    for name in names:
        setting = Setting(here, name, predictions[predictions["setting"] == name])
        for method in (method for method in ROWS if method in setting.predicted):
            seeds = sorted(setting.predicted[method])
            means.setdefault(method, []).append(setting.mean(method, seeds))
            draws.setdefault(method, []).append(setting.drawn(method, seeds))
            told = f"{means[method][-1]:.3f} {_interval(draws[method][-1])} ({len(seeds)})"
            cells.setdefault(method, {})[name] = told
    whole = {method: float(np.mean(found)) for method, found in means.items() if len(found) == len(names)}
    drawn = {method: np.mean(draws[method], axis=0) for method in whole}
    bar = best_baseline(whole)
    lines = [_line("method", *names, "mean", f"against {bar}"), _line(*["---"] * (len(names) + 3))]
    for method in (method for method in ROWS if method in cells):
        ends = ["", ""]
        if method in whole:
            gap = f"{whole[method] - whole[bar]:+.3f} {_interval(drawn[method] - drawn[bar], '+.3f')}"
            ends = [f"{whole[method]:.3f} {_interval(drawn[method])}", "" if method == bar else gap]
        lines.append(_line(method, *(cells[method].get(name, "") for name in names), *ends))
    return "\n".join(lines)


def best_baseline(means: Mapping[str, float]) -> str:
    """The baseline with the largest mean, which graphs are compared with."""
    return max(
        (method for method in means if method in BASELINES), key=means.__getitem__, default=next(iter(means))
    )


def _gap(setting: Setting, method: str, bar: str, seeds: list[int]) -> str:
    gap = setting.mean(method, seeds) - setting.mean(bar, seeds)
    return f"{gap:+.3f} {_interval(setting.drawn(method, seeds) - setting.drawn(bar, seeds), '+.3f')}"


def _interval(draws: Floats, form: str = ".3f") -> str:
    low, high = np.quantile(draws, [0.025, 0.975])
    return f"[{low:{form}}, {high:{form}}]"


def _line(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"
