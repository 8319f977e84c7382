"""Which published ways of training a supernet help, at equal numbers of forward and backward passes?

    python studies/supernet_methods/run.py [--quick] [--table]

Two processes of one thread each work through a list of jobs. Every finished job is appended to results.csv at once; run
again, and it goes on with the jobs that are missing. --table only prints the tables of what is there; --quick does
everything at a hundredth of the size, into a temporary folder.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded, here and in the workers

import pandas as pd
from jobs import VARIANTS, Job, Size, dataset, name_of, space_for, work
from tables import CONTROL, tables

from nasplat.errors import DataError
from nasplat.supernet import METHODS

HERE = Path(__file__).resolve().parent
COLUMNS = ["job", "part", "method", "seed", "what", "value", "unit", "origin"]
DEPTH = "depth_ratio"
FULL, QUICK = Size(), Size(passes=112, seeds=2, copies=1)


def first_jobs(rows: pd.DataFrame, size: Size, parts: Sequence[str]) -> Iterator[Job]:
    """What depends on nothing: the truth, multi-path networks, sorting."""
    for part in parts:
        archs = list(space_for(dataset(part, size)).enumerate())
        yield from (Job("alone", part, arch.key, s, size) for s in range(size.truths) for arch in archs)
    for seed in range(size.seeds):
        yield from (Job("paths", "paths", name, seed, size) for name in ("batch", "keyed"))
        yield from (Job("depths", "depths", name, seed, size) for name in VARIANTS if name.startswith(DEPTH))
        yield Job("order", "order", "sorting", seed, size)


def method_jobs(rows: pd.DataFrame, size: Size, parts: Sequence[str]) -> Iterator[Job]:
    """All methods, their controls and norms on the digits; but for depth_ratio, which trains no narrow networks."""
    truth = tuple(truth_of(rows, "digits").items())
    for seed in range(size.seeds):
        names = [name for name in VARIANTS if not name.startswith(DEPTH)]
        yield from (Job("method", "digits", name, seed, size, truth) for name in names)
        yield from (Job("norm", "norms", name, seed, size, truth) for name in ("group", "evonorm_s0"))


def best_jobs(rows: pd.DataFrame, size: Size, parts: Sequence[str]) -> Iterator[Job]:
    """The control and the three methods that were best on the digits, on average over all subnets."""
    if "fashion" not in parts:
        return
    truth = tuple(truth_of(rows, "fashion").items())
    means = rows[(rows["part"] == "digits") & (rows["what"] == "mean")].groupby("method")["value"].mean()
    best = means[means.index.isin(METHODS)].drop(CONTROL).nlargest(3).index
    for seed in range(size.seeds):
        yield from (Job("method", "fashion", name, seed, size, truth) for name in (CONTROL, *best))


STAGES = (first_jobs, method_jobs, best_jobs)


def truth_of(rows: pd.DataFrame, part: str) -> dict[str, float]:
    """Test accuracy of each network trained alone, by key: the mean over seeds."""
    found = rows[(rows["part"] == part) & (rows["what"] == "alone, test")]
    return dict(found.groupby("method")["value"].mean())


def run(path: Path, size: Size) -> None:
    """Do the jobs that the file has not got yet, and append the rows of each as it ends."""
    try:
        dataset("fashion", size)
        parts = ["digits", "fashion"]
    except DataError as error:
        print(f"without Fashion-MNIST: {error}")
        parts = ["digits"]
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        for stage in STAGES:
            rows = read(path)
            jobs = [job for job in stage(rows, size, parts) if name_of(job) not in set(rows["job"])]
            going = {pool.submit(work, job): name_of(job) for job in jobs}
            for number, done in enumerate(as_completed(going), start=1):
                print(
                    f"{stage.__name__} {number} of {len(jobs)}: {going[done]} {done.exception() or ''}",
                    flush=True,
                )
                if not done.exception():
                    append(path, done.result())


def read(path: Path) -> pd.DataFrame:
    """All rows of a results file; none where there is none."""
    return pd.read_csv(path) if path.exists() else pd.DataFrame(columns=COLUMNS)


def append(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Add the rows of one job in one write."""
    text = pd.DataFrame(rows)[COLUMNS].to_csv(index=False, header=not path.exists())
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def main() -> None:
    """Run what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a dry run of minutes, in a temporary folder")
    parser.add_argument("--table", action="store_true", help="only print the tables of results.csv")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "results.csv") if asked.quick else HERE / "results.csv"
        if not asked.table:
            run(path, QUICK if asked.quick else FULL)
        print(tables(read(path)))


if __name__ == "__main__":
    main()
