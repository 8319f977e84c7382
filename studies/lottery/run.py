"""Do pruned tickets train better than random masks of the same density, and than their masks on other weights?

    python studies/lottery/run.py [--quick] [--table]

One thread. Every finished training is kept in out/, every finished seed is appended to results.csv; run again, and it
goes on with the rest. --table only prints the tables of what is there; --quick is a dry run of a minute.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # what the studies have in common

import pandas as pd
from intervals import cell, gaps
from ledger import append, folder, options, read
from tickets import DENSITIES, Job, work

HERE = Path(__file__).resolve().parent
ASKED = (0.5, 0.2, 0.1, 0.05)
DENSE, TICKET, RANDOM, OTHER = "dense", "ticket", "random masks", "other weights"
ARMS = {
    TICKET: "ticket: pruned in rounds, weights of step 45",
    OTHER: "the ticket's mask, other initial weights",
    RANDOM: "random mask, equal densities by layer",
}


def jobs(quick: bool, place: Path) -> Iterator[Job]:
    """One for each seed."""
    for seed in range(2 if quick else 5):
        out = place / "out" / f"seed_{seed}"
        yield Job(seed, 32, 4, ASKED, out) if quick else Job(seed, densities=DENSITIES, folder=out)


def scores(rows: pd.DataFrame, arm: str, density: float) -> pd.DataFrame:
    """Test accuracy by seed; of several random masks the mean, and that of the best by validation."""
    own = rows[(rows["arm"] == arm) & (rows["density"].round(2) == density)]
    best = own.sort_values("validation").groupby("seed").last()
    return pd.DataFrame({"test": own.groupby("seed")["test"].mean(), "best": best["test"]})


def tables(rows: pd.DataFrame) -> str:
    """A row for each arm, a column for each sparsity; differences are to the random masks, by seed."""
    seeds = rows["seed"].nunique()
    dense = scores(rows, DENSE, 1.0)
    lines = [
        f"| {seeds} seeds | " + " | ".join(f"{1 - d:.0%} sparse" for d in ASKED) + " |",
        "|---" * 5 + "|",
    ]
    for arm, told in ARMS.items():
        cells = []
        for density in ASKED:
            own, control = scores(rows, arm, density), scores(rows, RANDOM, density)
            gap = None if arm == RANDOM else gaps(own, control, ["test"])["test"]
            cells.append(cell(own["test"], gap))
        lines.append(f"| {told} | " + " | ".join(cells) + " |")
    cells = []
    for density in ASKED:
        found, one = (
            scores(rows, RANDOM, density)[[c]].rename(columns={c: "test"}) for c in ("best", "test")
        )
        cells.append(cell(found["test"], gaps(found, one, ["test"])["test"]))
    lines.append("| the best of two random masks, by validation | " + " | ".join(cells) + " |")
    cells = []
    for density in ASKED:
        cells.append("{:+.3f} ± {:.3f}".format(*gaps(scores(rows, TICKET, density), dense, ["test"])["test"]))
    lines.append("| ticket against the dense network | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", f"Dense: {cell(dense['test'])}."])


def main() -> None:
    """Do the seeds that are missing, then print the table."""
    asked = options(__doc__ or "").parse_args()
    with folder(HERE, asked.quick) as place:
        path = place / "results.csv"
        for job in () if asked.table else jobs(asked.quick, place):
            if job.name not in set(read(path)["job"]):
                append(path, work(job))
                print(job.name, flush=True)
        print(tables(read(path)))


if __name__ == "__main__":
    main()
