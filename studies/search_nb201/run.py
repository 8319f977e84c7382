"""How good is the network that a search of 50 or 100 evaluations finds on NAS-Bench-201?

    NASPLAT_DATA=... python studies/search_nb201/run.py [--quick] [--table] [--methods random predictor ...]
                                                        [--seeds 20] [--processes 2]

Searches by the validation accuracy of the published table; what counts is the test accuracy of the network of the best
validation accuracy. Every finished job is appended to results.csv at once, and the same command goes on with the rest.
--table only prints the tables of what is there; --quick is a dry run in a temporary folder.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from time import process_time
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before anything loads a library that threads, here and in the workers
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # what the studies have in common

import numpy as np
import pandas as pd
from ledger import do, folder, options, read
from numpy.typing import NDArray

import nasplat as nas
from nasplat.prediction.surrogate import make_surrogate
from nasplat.search import Mirror, freeze, make_sampler
from nasplat.table import open_table

HERE = Path(__file__).resolve().parent
BUDGETS = (25, 50, 100)
TEST = "c10_test_e200"
RESAMPLES = 10_000

E200, E12 = "c10_valid_e200", "c10_valid_e12"
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "random": ("random", {}),
    "TPE": ("tpe", {}),
    "regularised evolution": ("regularized_evolution", {"population_size": 20, "sample_size": 5}),
    "predictor": ("predictor", {}),
    "predictor: thompson": ("predictor", {"acquisition": "thompson"}),
    "predictor: blend": ("predictor", {"predictor": "blend"}),
    "predictor: forest on encodings": (
        "predictor",
        {"predictor": "forest", "arguments": {"inputs": ["encoding"], "trees": 60}},
    ),
}
"""Rows of the tables: a sampler and its arguments, what is not said being as by default."""

LATER = ("predictor: thompson", "predictor: blend")
BY_E12 = ("random", "regularised evolution", "predictor")
"""Those that search by the accuracy after 12 epochs, too."""


@dataclass(frozen=True, slots=True)
class Job:
    """One search: a method of METHODS that maximises a column, with the seed of its study."""

    column: str
    seed: int
    method: str

    @property
    def name(self) -> str:
        """Unique in the file."""
        return f"{self.column} {self.seed} {self.method}"


def jobs(wanted: list[str] | None, seeds: int) -> Iterator[Job]:
    """All jobs, seed by seed, so that a run that is stopped has whole seeds; the methods of LATER last."""
    first = tuple(method for method in METHODS if method not in LATER)
    for column, rows in ((E200, first), (E12, BY_E12), *((E200, (row,)) for row in LATER)):
        for seed in range(seeds):
            yield from (Job(column, seed, row) for row in rows if wanted is None or row in wanted)


@cache
def benchmark() -> tuple[nas.Space, Any]:
    """The space and the table."""
    return nas.load("spaces", "nasbench201")(), open_table("nb201")


def search(job: Job, trials: int) -> NDArray[np.int64]:
    """The rows of the table in the order in which they were evaluated, as `nasplat run` would do it."""
    space, table = benchmark()
    name, arguments = METHODS[job.method]
    rows, values = table.rows_of(space), table.numbers(job.column)
    mirror = Mirror(
        ["maximize"],
        lambda seed: make_sampler(name, arguments, seed=seed, space=space, surrogates=make_surrogate),
        space,
        job.seed,
    )
    found = []
    for number in range(trials):
        proposal = mirror.propose(number)
        found.append(rows(proposal.arch))
        trial = freeze(
            number=number,
            state="complete",
            params=proposal.params,
            distributions=space.distributions(),
            values=[float(values[found[-1]])],
            system_attrs=proposal.system_attrs,
        )
        mirror.put(trial)
    return np.array(found)


def work(job: Job) -> list[dict[str, Any]]:
    """A row for each budget: the test accuracy of the best by validation so far."""
    start = process_time()
    found = search(job, max(BUDGETS))
    seconds = process_time() - start
    valid, test = benchmark()[1].numbers(job.column), benchmark()[1].numbers(TEST)
    best = {budget: found[np.argmax(valid[found[:budget]])] for budget in BUDGETS}
    return [
        {
            "job": job.name,
            "method": job.method,
            "searched_by": job.column,
            "seed": job.seed,
            "evaluations": budget,
            "valid": valid[row],
            "test": test[row],
            "unit": "%",
            "is_best_valid": bool(valid[row] == np.nanmax(valid)),
            "cpu_s": round(seconds, 2),
            "origin": f"nasplat {nas.__version__}, table nb201 {benchmark()[1].hash[:8]}",
        }
        for budget, row in best.items()
    ]


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of the mean."""
    draws = np.random.default_rng(0).choice(values, (RESAMPLES, len(values))).mean(1)
    low, high = np.percentile(draws, (2.5, 97.5))
    return float(low), float(high)


def tables(rows: pd.DataFrame) -> str:
    """A table for each column that was searched by: a line for each method."""
    parts = []
    for column in (E200, E12):
        found = rows[rows["searched_by"] == column]
        if len(found):
            parts.append(f"### Search by `{column}`\n\n{_table(found)}")
    return "\n\n".join(parts)


def _table(rows: pd.DataFrame) -> str:
    heads = " | ".join(f"test at {budget}" for budget in BUDGETS)
    lines = [
        f"| | {heads} | best by validation found in {max(BUDGETS)} | seeds | CPU s a search |",
        "|" + "---|" * (len(BUDGETS) + 4),
    ]
    for method in METHODS:
        mine = rows[rows["method"] == method]
        if len(mine):
            at = dict(list(mine.groupby("evaluations")))
            cells = " | ".join(_cell(at[budget]["test"].to_numpy()) for budget in BUDGETS)
            last = at[max(BUDGETS)]
            share = f"{last['is_best_valid'].mean():.0%}"
            lines.append(f"| {method} | {cells} | {share} | {len(last)} | {last['cpu_s'].mean():.1f} |")
    return "\n".join(lines)


def _cell(values: NDArray[np.float64]) -> str:
    low, high = interval(values)
    return f"{values.mean():.3f} [{low:.3f}, {high:.3f}]"


def main() -> None:
    """Do what is missing, then print the tables."""
    parser = options(__doc__ or "")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    with folder(HERE, given.quick) as place:
        path = place / "results.csv"
        if not given.table:
            do(path, jobs(given.methods, 1 if given.quick else given.seeds), work, given.processes)
        print(tables(read(path)))


if __name__ == "__main__":
    main()
