"""Do mixtures of supernets rank pooling layouts better than one supernet, and what ranks them best?

    python studies/pooling_digits/run.py [--quick] [--table]

Two processes of one thread each work through a list of jobs. Every finished job is appended to layouts.csv at once; run
again, and it goes on with the jobs that are missing. results.csv has a row for each method and seed. --table only
prints the tables of what is there; --quick does everything at a fiftieth of the size, in a temporary folder.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded, here and in the workers
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # what the studies have in common

import pandas as pd
from ledger import do, folder, options, read
from pooling_jobs import LAYOUT, Job, Setup, layouts_of, work
from pooling_tables import ceiling, summary, table, truth_of
from pooling_variants import (
    IDEAS,
    PER_EXPERT,
    PUBLISHED,
    SCORES,
    VARIANTS,
    scoring_jobs,
    supernet_jobs,
    truth_jobs,
)

HERE = Path(__file__).resolve().parent
DIGITS = {"clutter": 1, "noise": 0.2, "copies": 8}
FULL = Setup("translated_digits", DIGITS, body=(8, 8, 16, 16, 32, 32), epochs=16, alone=6)
QUICK = replace(FULL, arguments=DIGITS | {"copies": 1}, epochs=2, alone=1)
PARTS = {
    "Equal total steps": (("M = 1", *SCORES, *PUBLISHED), "M = 1"),
    "Equal steps per expert": (tuple(PER_EXPERT), "M = 1, 1/4 of the steps"),
    "What might rank better, equal total steps": (("each alone", "M = 1", *IDEAS), "each alone"),
}
"""The rows of each table, and the control of all of them."""


def jobs(setup: Setup, seeds: int, truths: int) -> Iterator[Job]:
    """Everything, the truth and the control first."""
    layouts = [str(arch[LAYOUT]) for arch in layouts_of(setup).enumerate()]
    yield from truth_jobs(layouts, setup, truths)
    yield from scoring_jobs(setup, seeds)
    names = [name for name in VARIANTS if name != "each alone"]
    yield from supernet_jobs(["each alone"], setup, seeds)
    yield from supernet_jobs(names, setup, seeds)


def tables(rows: pd.DataFrame, found: pd.DataFrame) -> str:
    """The ceiling, then a table for each part."""
    parts = [
        f"### {title}\n\n{table(found, tuple(dict.fromkeys(names)), control)}"
        for title, (names, control) in PARTS.items()
    ]
    return "\n\n".join([ceiling(rows), *parts])


def main() -> None:
    """Run what is missing, then print the tables."""
    asked = options(__doc__).parse_args()
    with folder(HERE, asked.quick) as place:
        path = place / "layouts.csv"
        if not asked.table:
            seeds, truths = (2, 1) if asked.quick else (5, 2)
            do(path, jobs(QUICK if asked.quick else FULL, seeds, truths), work)
        rows = read(path)
        found = summary(rows, truth_of(rows))
        found.to_csv(place / "results.csv", index=False)
        print(tables(rows, found))


if __name__ == "__main__":
    main()
