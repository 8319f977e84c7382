"""How well do weights alone say how accurate a network is?

    python studies/accuracy_from_weights/run.py [--quick] [--table] [--settings random ...] [--methods "edge gated" ...]
                                                [--seeds 5] [--count 3000] [--zoos FOLDER] [--processes 2]

Trains 3,000 small classifiers of the digits of five families, and 3,000 of one form, unless FOLDER has them. Every
method then learns from some of them and judges others. Processes of one thread each work through a list of jobs; what
a finished one predicted is appended to predictions.csv at once, and the same command goes on with the rest. results.csv
is computed from that and the networks' tables, and so is what --table prints, which trains nothing. --quick is a dry
run of minutes in a temporary folder.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from time import process_time
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded, here and in the workers
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # what the studies have in common

from judging import networks_file, results, tables, with_means
from ledger import do, folder, options, read
from methods import ANY_FORM, METHODS, TARGET, Question
from networks import FAMILIES, Place, known, split

import nasplat as nas

HERE = Path(__file__).resolve().parent
SETTINGS = ("random", *(f"without {family}" for family in FAMILIES), "one form")
SEEDS = {"random": 5, "one form": 5}
"""Seeds of a setting; 3 of any other."""
ONLY_FORMS = ("form", "statistics, boosting, by form", "parameter count")
"""Rows that say nothing, or nothing new, of networks of one form."""
KEPT = ("number", "family", "width", "depth", "activation", "params", TARGET)


@dataclass(frozen=True, slots=True)
class Job:
    """One method that learns from the networks of one split."""

    setting: str
    seed: int
    method: str
    place: Place

    @property
    def name(self) -> str:
        """Unique in the file."""
        return f"{self.setting} {self.seed} {self.method}"

    @property
    def zoo(self) -> str:
        """The zoo of the setting."""
        return "one form" if self.setting == "one form" else "five families"


def jobs(place: Place, settings: Sequence[str], methods: Sequence[str], most: int) -> Iterator[Job]:
    """All jobs, seed by seed, so that a run that is stopped has whole seeds."""
    for setting in settings:
        allowed = METHODS if setting == "random" else ANY_FORM
        if setting == "one form":
            allowed = {name: method for name, method in METHODS.items() if name not in ONLY_FORMS}
        for seed in range(min(most, SEEDS.get(setting, 3))):
            yield from (Job(setting, seed, name, place) for name in allowed if name in methods)


def work(job: Job) -> list[dict[str, Any]]:
    """One row: the accuracies that a method predicts, of all judged networks in order."""
    networks = known(job.place, job.zoo)
    learn, judge = split(networks.table["family"].to_numpy(), job.setting, job.seed)
    start = process_time()
    found = METHODS[job.method](Question(networks, learn, judge, job.seed))
    seconds = process_time() - start
    return [
        {
            "job": job.name,
            "setting": job.setting,
            "method": job.method,
            "seed": job.seed,
            "learned": len(learn),
            "cpu_s": round(seconds, 1),
            "origin": f"nasplat {nas.__version__}, torch {version('torch')}",
            "predicted": " ".join(f"{value:.4f}" for value in found),
        }
    ]


def main() -> None:
    """Run what is missing and write the results, or print the tables."""
    parser = options(__doc__)
    parser.add_argument(
        "--settings", nargs="+", choices=SETTINGS, default=SETTINGS, help="parts of the study"
    )
    parser.add_argument(
        "--methods", nargs="+", choices=METHODS, default=list(METHODS), help="rows of the tables"
    )
    parser.add_argument("--seeds", type=int, default=5, help="at most")
    parser.add_argument("--count", type=int, default=3000, help="networks of each zoo")
    parser.add_argument("--zoos", type=Path, default=HERE / "out", help="where the networks are, or will be")
    parser.add_argument("--processes", type=int, default=2, help="of one thread each")
    asked = parser.parse_args()
    with folder(HERE, asked.quick) as here:
        place = Place(str(asked.zoos), asked.count)
        if asked.quick:
            place, asked.seeds = replace(place, folder=str(here / "out"), count=250), 1
        if not asked.table:
            zoos = {"one form" if setting == "one form" else "five families" for setting in asked.settings}
            for zoo in sorted(zoos):
                known(place, zoo).table[list(KEPT)].to_csv(here / networks_file(zoo), index=False)
            do(
                here / "predictions.csv",
                jobs(place, asked.settings, asked.methods, asked.seeds),
                work,
                asked.processes,
            )
        predictions = with_means(read(here / "predictions.csv"))
        found = results(here, predictions)
        found.to_csv(here / "results.csv", index=False)
        if asked.table or asked.quick:  # a minute of resampling
            print(tables(here, predictions))


if __name__ == "__main__":
    main()
