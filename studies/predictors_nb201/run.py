"""How well do predictors rank networks of which a few were trained?

    NASPLAT_DATA=... python studies/predictors_nb201/run.py [--quick] [--table] [--pools nb201_zc/cifar10 ...]
                                                           [--methods blend gcn ...] [--labels 25 50 ...]
                                                           [--seeds 10] [--processes 2]

Kendall's tau on all held-out networks of published tables, with 25 to 400 labels, split two ways: at random, and so
that no judged network computes the same function as one with a label. Processes of one thread each work through a
list of jobs; every finished one is appended to results.csv at once, and the same command goes on with the rest.
--table only prints the tables of what is there; --quick is a dry run in a temporary folder.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from time import process_time
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded, here and in the workers
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # what the studies have in common

import numpy as np
import pandas as pd
from intervals import cell, gaps
from ledger import do, folder, options, read
from methods import CONTROL, LEARNED, UNLABELLED, judge, methods
from pools import POOLS, pool, split
from scipy.stats import kendalltau, spearmanr

import nasplat as nas

HERE = Path(__file__).resolve().parent
LABELS = (25, 50, 100, 200, 400)
SPLITS = ("random", "unseen")
LEAST = 50
"""Fewer judged networks give no row."""


@dataclass(frozen=True, slots=True)
class Job:
    """One method that learns from the labels of one seed."""

    pool: str
    split: str
    labels: int
    seed: int
    method: str

    @property
    def name(self) -> str:
        """Unique in the file."""
        return f"{self.pool} {self.split} {self.labels} {self.seed} {self.method}"


def jobs(pools: list[str], wanted: list[str] | None, seeds: int, labels: Sequence[int]) -> Iterator[Job]:
    """All jobs, seed by seed, so that a run that is stopped has whole seeds."""
    for name in pools:
        rows = [method for method in methods(name) if wanted is None or method in wanted]
        for seed in range(seeds):
            for how in SPLITS:
                for count in labels:
                    if len(split(pool(name).functions, how, count, seed)[1]) >= LEAST:
                        yield from (Job(name, how, count, seed, method) for method in rows)


def work(job: Job) -> list[dict[str, Any]]:
    """One row: how well the method orders the held-out networks, and how often its doubts are right."""
    known = pool(job.pool)
    labelled, judged = split(known.functions, job.split, job.labels, job.seed)
    start = process_time()
    found = judge(job.pool, job.method, labelled, judged, job.seed)
    seconds = process_time() - start
    truth = known.targets[judged]
    inside = np.abs(truth - found.mean) <= 1.96 * found.std
    learned = job.method in LEARNED
    return [
        {
            "job": job.name,
            "pool": job.pool,
            "split": job.split,
            "method": job.method,
            "labels": job.labels,
            "seed": job.seed,
            "judged": len(judged),
            "kendall_tau": kendalltau(found.mean, truth).statistic,
            "spearman_rho": spearmanr(found.mean, truth).statistic,
            "share_within_1.96_std": inside.mean() if learned else np.nan,
            "cpu_s": seconds if learned else np.nan,
            "origin": f"nasplat {nas.__version__}, torch {version('torch')}",
        }
    ]


def tables(rows: pd.DataFrame) -> str:
    """A table for each pool and split: a row for each method, a column for each number of labels."""
    parts = []
    for (name, how), found in rows.groupby(["pool", "split"], sort=False):
        seeds, judged = found["seed"].nunique(), found.groupby("labels")["judged"].mean()
        told = ", ".join(f"{count:.0f} at {labels}" for labels, count in judged.items())
        parts.append(f"### {name}, {how}\n\n{seeds} seeds; networks judged: {told}\n\n{_table(found)}")
    return "\n\n".join(parts)


def overview(rows: pd.DataFrame, method: str, counts: Sequence[int] = (25, 100, 400)) -> str:
    """A line for each pool: the forest's tau, and the paired difference of a method to it, random split."""
    heads = " | ".join(f"forest, {count} | {method}, {count}" for count in counts)
    lines = [f"| pool | {heads} |", f"|---|{'---|---|' * len(counts)}"]
    for name, found in rows[rows["split"] == "random"].groupby("pool", sort=False):
        wide = found[found["method"].isin([CONTROL, method])].pivot_table(
            index="seed", columns=["method", "labels"], values="kendall_tau"
        )
        if {CONTROL, method} <= set(wide.columns.get_level_values(0)):
            mine, other = (wide[m].reindex(columns=counts) for m in (method, CONTROL))
            against = gaps(mine, other, counts)
            cells = [f"{cell(other[c])} | {cell(mine[c], against.get(c))}" for c in counts]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _table(rows: pd.DataFrame) -> str:
    wide = {
        m: f.pivot(index="seed", columns="labels", values="kendall_tau") for m, f in rows.groupby("method")
    }
    counts = sorted(rows["labels"].unique())
    lines = [f"| | {' | '.join(map(str, counts))} |", f"|---|{'---|' * len(counts)}"]
    for method in (m for m in (*UNLABELLED, *LEARNED) if m in wide):
        mine, other = wide[method].reindex(columns=counts), wide.get(CONTROL)
        paired = method != CONTROL and other is not None
        against = gaps(mine, other.reindex(columns=counts), counts) if paired else {}
        cells = [cell(mine[count], against.get(count)) for count in counts]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, then print the tables."""
    parser = options(__doc__)
    parser.add_argument("--pools", nargs="+", choices=POOLS, default=list(POOLS), help="tables to learn from")
    parser.add_argument("--methods", nargs="+", choices=[*UNLABELLED, *LEARNED], help="rows of the tables")
    parser.add_argument("--labels", nargs="+", type=int, default=LABELS, help="how many")
    parser.add_argument("--seeds", type=int, default=10, help="draws of labels")
    parser.add_argument("--processes", type=int, default=2, help="of one thread each")
    asked = parser.parse_args()
    pools, seeds, labels = (
        (POOLS[:1], 2, (25, 50)) if asked.quick else (asked.pools, asked.seeds, asked.labels)
    )
    with folder(HERE, asked.quick) as place:
        path = place / "results.csv"
        if not asked.table:
            do(path, jobs(list(pools), asked.methods, seeds, labels), work, asked.processes)
        rows = read(path)
        shown = rows[rows["pool"].isin(pools)]
        print(f"### Every pool\n\n{overview(shown, 'blend')}\n\n{tables(shown)}")


if __name__ == "__main__":
    main()
