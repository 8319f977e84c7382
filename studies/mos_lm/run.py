"""Does a mixture of supernets close the gap between inherited and trained weights of small language models?

    python studies/mos_lm/run.py [--quick] [--table]

Two processes of one thread each work through a list of jobs. Every finished job is appended to results.csv at once; run
again, and it goes on with the jobs that are missing. --table only prints the tables of what is there; --quick does
everything at a sixteenth of the size, in a temporary folder.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded, here and in the workers
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # what the studies have in common

import pandas as pd
from jobs import CONTROL, VARIANTS, Job, judged_archs, models, work
from ledger import do, folder, options, read
from tables import tables

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Size:
    """epochs: of slicing. seeds: of a row. truths: seeds of a network trained alone."""

    epochs: int = 16
    seeds: int = 5
    truths: int = 3


FULL, QUICK = Size(), Size(epochs=1, seeds=2, truths=1)


def first_jobs(size: Size) -> Iterator[Job]:
    """The networks alone, then all methods at equal steps."""
    for seed in range(size.truths):
        yield from (Job("alone", "alone", seed, size.epochs, which) for which in judged_archs(models()))
    for seed in range(size.seeds):
        yield from (Job("equal steps", name, seed, size.epochs) for name in VARIANTS)


def equal_time_jobs(rows: pd.DataFrame, size: Size) -> Iterator[Job]:
    """Mixtures for as many epochs as take slicing's time, by the mean seconds at equal steps."""
    equal = rows[(rows["part"] == "equal steps") & (rows["epochs"] == size.epochs)]
    seconds = equal.groupby("method")["seconds"].mean()
    for seed in range(size.seeds):
        for name in (name for name in VARIANTS if name != CONTROL and name in seconds):
            epochs = max(1, round(size.epochs * seconds[CONTROL] / seconds[name]))
            yield Job("equal time", name, seed, epochs)


def main() -> None:
    """Run what is missing, then print the tables."""
    asked = options(__doc__).parse_args()
    size = QUICK if asked.quick else FULL
    with folder(HERE, asked.quick) as place:
        path = place / "results.csv"
        if not asked.table:
            do(path, first_jobs(size), work)
            do(path, equal_time_jobs(read(path), size), work)
        print(tables(read(path)))


if __name__ == "__main__":
    main()
