"""Which ways of sharing weights cope with options that need different weights, at equal total steps?

    python studies/planted_conflict/run.py [--quick] [--table] [--processes 2]

Processes of one thread each work through a list of jobs. Every finished job is appended to results.csv at once; run
again, and it goes on with the jobs that are missing. --table only prints the tables of results.csv; --quick does
all rows at one learning rate and a hundredth of the steps, in a temporary folder.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded, here and in the workers
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # what the studies have in common

import pandas as pd
from intervals import cell, gaps
from jobs import VARIANTS, Job, work
from ledger import do, folder, options, read

HERE = Path(__file__).resolve().parent
CONTROLS = ("slice", "constant router", "random one-hot", "split by chance")
RATES = (0.01, 0.03)


def jobs(quick: bool) -> Iterator[Job]:
    """All rows, seed by seed."""
    seeds, rates, epochs = (2, RATES[:1], 2) if quick else (5, RATES, 200)
    for seed in range(seeds):
        yield from (Job(method, rate, seed, epochs) for rate in rates for method in VARIANTS)


def best(rows: pd.DataFrame) -> pd.DataFrame:
    """Each row at the learning rate with the best validation accuracy, on average over seeds."""
    means = rows.groupby(["method", "rate"])["validation"].mean().reset_index()
    chosen = means.loc[means.groupby("method")["validation"].idxmax(), ["method", "rate"]]
    return rows.merge(chosen)


def tables(rows: pd.DataFrame) -> str:
    """All rows at their best learning rates, then all at each."""
    parts = {"Each at its best learning rate": best(rows)}
    parts |= {f"All at a learning rate of {rate}": rows[rows["rate"] == rate] for rate in RATES}
    return "\n\n".join(f"### {title}\n\n{table(part)}" for title, part in parts.items() if len(part))


def table(rows: pd.DataFrame) -> str:
    """A line for each row: mean and range over seeds, and the paired differences to the controls."""
    wide = rows.set_index(["method", "seed"]).sort_index()
    heads = ["weights", "rate", "test accuracy", "range", *(f"minus {control}" for control in CONTROLS)]
    lines = [f"| {' | '.join([*heads, 'parameters', 'seconds'])} |", "|---" * (len(heads) + 2) + "|"]
    for method in (name for name in VARIANTS if name in wide.index):
        mine = wide.loc[method]
        told = [difference(method, control, wide) for control in CONTROLS]
        span = f"{mine['test'].min():.3f} to {mine['test'].max():.3f}"
        costs = [cell(mine["parameters"]), f"{mine['seconds'].mean():.0f}"]
        rate = f"{mine['rate'].iloc[0]:g}"
        lines.append(f"| {' | '.join([method, rate, cell(mine['test']), span, *told, *costs])} |")
    return "\n".join(lines)


def difference(method: str, control: str, wide: pd.DataFrame) -> str:
    """The mean paired difference with its 95 % interval, in bold where it excludes 0."""
    if control not in wide.index or method == control:
        return ""
    gap = gaps(wide.loc[method], wide.loc[control], ["test"]).get("test")
    if gap is None:
        return ""
    told = f"{gap[0]:+.3f} ± {gap[1]:.3f}"
    return f"**{told}**" if abs(gap[0]) > gap[1] else told


def main() -> None:
    """Run what is missing, then print the tables."""
    parser = options(__doc__)
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    with folder(HERE, asked.quick) as place:
        path = place / "results.csv"
        if not asked.table:
            do(path, jobs(asked.quick), work, asked.processes)
        print(tables(read(path)))


if __name__ == "__main__":
    main()
