"""The jobs of a study, done by a few processes of one thread each; every finished job is in a file at once.

What the studies beside this file have in common: a `run.py` puts this folder on its path and sets OMP_NUM_THREADS
before anything loads torch. A job is done when its name stands in the column `job` of the file; so a study can be
stopped at any moment, and the same command goes on with the rest.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

Row = Mapping[str, Any]


class Job(Protocol):
    """Something to do, which can be pickled."""

    @property
    def name(self) -> str:
        """What tells it from all other jobs of its file."""
        ...


def do(path: Path, jobs: Iterable[Job], work: Callable[[Any], Sequence[Row]], processes: int = 2) -> None:
    """Do the jobs that the file has not got yet, first come first served, and append the rows of each as it ends.

    A job that fails is told and left out; the next run tries it again.
    """
    done = set(read(path)["job"])
    missing = [job for job in jobs if job.name not in done]
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        going = {pool.submit(work, job): job.name for job in missing}
        for number, future in enumerate(as_completed(going), start=1):
            error = future.exception()
            told = f" failed: {type(error).__name__}: {error}" if error else ""
            print(f"{number} of {len(missing)}: {going[future]}{told}", flush=True)
            if not error:
                append(path, future.result())


def read(path: Path) -> pd.DataFrame:
    """All rows of a file; none where there is none."""
    return pd.read_csv(path) if path.exists() else pd.DataFrame({"job": []})


def append(path: Path, rows: Sequence[Row]) -> None:
    """Add the rows of one job in one write; all rows of a file have the same columns."""
    text = pd.DataFrame(rows).to_csv(index=False, header=not path.exists())
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def options(description: str) -> argparse.ArgumentParser:
    """What every study can be asked for."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a dry run of minutes, in a temporary folder")
    parser.add_argument("--table", action="store_true", help="only print the tables of what is there")
    return parser


@contextmanager
def folder(here: Path, quick: bool) -> Iterator[Path]:
    """Where a study keeps its files: its own folder, or a temporary one for a dry run."""
    with tempfile.TemporaryDirectory() as scratch:
        yield Path(scratch) if quick else here
