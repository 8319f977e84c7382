"""Which supernet ranks the 36 pooling layouts of ResNet-20 on CIFAR-10 as training alone does?

    NASPLAT_DATA=... python studies/pooling_cifar10/run.py [--device cuda] [--epochs 100] [--processes 4] [--out DIR]
    NASPLAT_DATA=... python studies/pooling_cifar10/run.py --reduced
    ... [--quick] [--table]

The truth is published: accuracies of all layouts trained alone, in NASPLAT_DATA/pooling/resnet20_cifar10.csv. Nothing
is chosen by it: besides the fixed rows there is the method that was best on the digits, which is looked up in
../pooling_digits/results.csv. Jobs are appended to layouts.csv one by one, so that the command goes on where it was
stopped; results.csv has a row for each method and seed. --reduced, for a CPU: 16x16 pixels, few images and epochs,
files of its own.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded, here and in the workers
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # what the studies have in common

import pandas as pd
from ledger import do, folder, options, read
from pooling_jobs import Job, Setup, work
from pooling_tables import best_of, bootstrap_table, summary, table
from pooling_variants import SCORES, WITHIN_BUDGET, scoring_jobs, supernet_jobs

from nasplat.data import data_root

HERE = Path(__file__).resolve().parent
RECIPE = {"batch_size": 128, "learning_rate": 0.1}
FULL = Setup(
    "cifar10", {"validation": 0.5}, body="resnet20", epochs=100, tests=0, calibration=32, recipe=RECIPE
)
FEW = {"limit": 7400, "validation": 1000, "augment": False}
REDUCED = replace(
    FULL, arguments=FEW, epochs=6, halved=True, calibration=4, best=False, recipe=RECIPE | {"batch_size": 64}
)
QUICK = replace(REDUCED, arguments=FEW | {"limit": 400, "validation": 100}, epochs=1, calibration=1)
CONTROLS = ("each alone", "branches after 1/2")
MIXTURES = ("M = 1", "M = 2", "M = 4", "M = 8")
RIVALS = ("MACs", "nwot", *CONTROLS, "M = 1")
SEEDS = 3


def published() -> dict[str, float]:
    """Test accuracy of each layout trained alone."""
    root = data_root()
    if root is None:
        sys.exit("set NASPLAT_DATA to the folder that holds pooling/ and cifar10/")
    rows = pd.read_csv(root / "pooling" / "resnet20_cifar10.csv")
    return dict(zip(rows["layout"], rows["scratch_acc"] / 100, strict=True))


def names() -> tuple[str, ...]:
    """The methods: the controls first, then the mixtures, and what was best on the digits."""
    best = best_of(read(HERE.parent / "pooling_digits" / "results.csv"), WITHIN_BUDGET)
    if best is None:
        print("without a best method: run ../pooling_digits/run.py first")
    return tuple(dict.fromkeys((*CONTROLS, *([best] if best else []), *MIXTURES)))


def jobs(setup: Setup, seeds: int) -> Iterator[Job]:
    """Scores without training, then the supernets; the controls of all seeds first."""
    yield from scoring_jobs(setup, seeds)
    for name in names():
        yield from supernet_jobs([name], setup, seeds)


def tables(rows: pd.DataFrame, found: pd.DataFrame, truth: Mapping[str, float]) -> str:
    """Means over seeds with paired intervals; then intervals over layouts."""
    rows = rows[rows["method"].isin(found["method"])]
    methods = (*SCORES, *names())
    return (
        f"### Over seeds\n\n{table(found, methods, 'each alone')}\n\n"
        f"### Over layouts\n\n{bootstrap_table(rows, truth, methods, RIVALS)}"
    )


def asked_for() -> argparse.Namespace:
    """The options of the command line."""
    parser = options(__doc__)
    parser.add_argument("--reduced", action="store_true", help="small enough for a CPU")
    parser.add_argument("--device", default="cpu", help="such as cuda")
    parser.add_argument("--epochs", type=int, help="of every supernet")
    parser.add_argument("--processes", type=int, default=2, help="trainings at a time, also on one GPU")
    parser.add_argument("--out", type=Path, default=HERE, help="the folder of the results")
    return parser.parse_args()


def main() -> None:
    """Run what is missing, then print the tables."""
    asked, truth = asked_for(), published()
    setup = QUICK if asked.quick else REDUCED if asked.reduced else FULL
    setup = replace(setup, device=asked.device, epochs=asked.epochs or setup.epochs)
    ending = "_reduced" if asked.reduced else ""
    with folder(asked.out, asked.quick) as place:
        path = place / f"layouts{ending}.csv"
        if not asked.table:
            do(path, jobs(setup, 1 if asked.quick else SEEDS), work, asked.processes)
        rows = read(path)
        rows = rows[rows["epochs"] == setup.epochs]
        found = summary(rows, truth)
        found.to_csv(place / f"results{ending}.csv", index=False)
        print(tables(rows, found, truth))


if __name__ == "__main__":
    main()
