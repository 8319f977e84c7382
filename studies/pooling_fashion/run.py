"""Does what ranks pooling layouts of the digits best do so on Fashion-MNIST at 14x14?

    NASPLAT_DATA=... python studies/pooling_fashion/run.py [--quick] [--table]

As ../pooling_digits/run.py, with one supernet, a mixture of four, each layout alone, and what was best on the digits,
which is looked up in ../pooling_digits/results.csv.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded, here and in the workers
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # what the studies have in common

from ledger import do, folder, options, read
from pooling_jobs import LAYOUT, Job, Setup, layouts_of, work
from pooling_tables import best_of, ceiling, summary, table, truth_of
from pooling_variants import SCORES, WITHIN_BUDGET, scoring_jobs, supernet_jobs, truth_jobs

HERE = Path(__file__).resolve().parent
FASHION = {"limit": 9200, "validation": 2000, "augment": False}
FULL = Setup("fashion_mnist", FASHION, body=(8, 8, 16, 16, 32, 32), epochs=16, alone=6, halved=True)
QUICK = replace(FULL, arguments=FASHION | {"limit": 1100, "validation": 200}, epochs=2, alone=1, tests=200)
NAMES = ("each alone", "M = 1", "M = 4", "M = 1, 1/4 of the steps")


def names() -> tuple[str, ...]:
    """The methods: those that are fixed, and the one that was best on the digits."""
    best = best_of(read(HERE.parent / "pooling_digits" / "results.csv"), WITHIN_BUDGET)
    if best is None:
        print("without a best method: run ../pooling_digits/run.py first")
    return tuple(dict.fromkeys((*NAMES, *([best] if best else []))))


def jobs(setup: Setup, seeds: int, truths: int) -> Iterator[Job]:
    """The truth, then everything else."""
    layouts = [str(arch[LAYOUT]) for arch in layouts_of(setup).enumerate()]
    yield from truth_jobs(layouts, setup, truths)
    yield from scoring_jobs(setup, seeds)
    yield from supernet_jobs(names(), setup, seeds)


def main() -> None:
    """Run what is missing, then print the table."""
    asked = options(__doc__).parse_args()
    with folder(HERE, asked.quick) as place:
        path = place / "layouts.csv"
        if not asked.table:
            seeds, truths = (2, 1) if asked.quick else (5, 2)
            do(path, jobs(QUICK if asked.quick else FULL, seeds, truths), work)
        rows = read(path)
        found = summary(rows, truth_of(rows))
        found.to_csv(place / "results.csv", index=False)
        print(ceiling(rows), table(found, (*SCORES, *names()), "each alone"), sep="\n\n")


if __name__ == "__main__":
    main()
