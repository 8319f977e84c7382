"""Do the weights of a network that shows an image say what the image shows?

    NASPLAT_DATA=... python studies/inr_classification/run.py [--quick] [--table] [--shows "digits, one hidden layer"]
                                           [--methods "edge gated" ...] [--seeds 5] [--zoos FOLDER] [--processes 2]

Fits a SIREN (arXiv:2006.09661) to every image, each from its own initial weights, unless FOLDER has them. Every method
learns classes from the weights of two thirds of the images and judges the others. Processes of one thread each work
through a list of jobs; every finished one is a row of results.csv at once, and the same command goes on with the rest.
--table only prints the tables of what is there; --quick is a dry run of minutes in a temporary folder.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from time import process_time
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded, here and in the workers
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # what the studies have in common

import pandas as pd
from editing import EDITS, edited
from images import SHOWS, shown, split
from intervals import gaps, reach
from ledger import do, folder, options, read
from methods import BASELINES, METHODS, Question

import nasplat as nas

HERE = Path(__file__).resolve().parent
EDITED = "digits, one hidden layer"


@dataclass(frozen=True, slots=True)
class Job:
    """part: "class" or "edit", a method of which learns from the networks of one split; share: of the zoo."""

    part: str
    show: str
    method: str
    seed: int
    zoos: str
    share: float = 1.0

    @property
    def name(self) -> str:
        """Unique in the file."""
        return f"{self.part}: {self.show}, {self.method}, seed {self.seed}"


def jobs(asked: Any, share: float) -> Iterator[Job]:
    """All jobs, seed by seed, so that a run that is stopped has whole seeds."""
    for seed in range(asked.seeds):
        for show in asked.shows:
            yield from (Job("class", show, name, seed, str(asked.zoos), share) for name in asked.methods)
        if EDITED in asked.shows:
            yield from (Job("edit", EDITED, name, seed, str(asked.zoos), share) for name in EDITS)


def work(job: Job) -> list[dict[str, Any]]:
    """One row: the share of judged networks whose class is right, or how far edited images are from what is wanted."""
    networks, frequency = shown(job.show, job.zoos, job.share), SHOWS[job.show].frequency
    learn, judge = split(networks.images, job.seed)
    question = Question(networks, learn, judge, job.seed, frequency)
    start = process_time()
    if job.part == "class":
        metric, value = "accuracy", float((METHODS[job.method](question) == networks.labels[judge]).mean())
    else:
        metric, value = "mean squared error", edited(question, job.method)
    facts = {"job": job.name, "part": job.part, "show": job.show, "method": job.method, "seed": job.seed}
    told = {
        "learned": len(learn),
        "judged": len(judge),
        "metric": metric,
        "value": round(value, 6),
        "unit": "1",
    }
    origin = f"nasplat {nas.__version__}, torch {version('torch')}"
    return [facts | told | {"cpu_s": round(process_time() - start, 1), "origin": origin}]


def tables(rows: pd.DataFrame) -> str:
    """A table for each zoo, and one of edits."""
    parts = []
    for (part, show), found in rows.groupby(["part", "show"], sort=False):
        order = METHODS if part == "class" else EDITS
        judged, learned = found["judged"].iloc[0], found["learned"].iloc[0]
        title = f"### {'editing: dilation, ' if part == 'edit' else ''}{show}"
        metric = found["metric"].iloc[0]
        parts.append(
            f"{title}\n\nlearned from {learned} networks, {judged} judged\n\n{_table(found, list(order), metric)}"
        )
    return "\n\n".join(parts)


def _table(rows: pd.DataFrame, order: Sequence[str], metric: str) -> str:
    """Means over seeds with 95 % t intervals, and paired differences to the best baseline."""
    wide = {m: f.set_index("seed")[["value"]] for m, f in rows.groupby("method")}
    bars = [m for m in wide if m in BASELINES] or [order[0]]
    bar = max(bars, key=lambda m: wide[m]["value"].mean())
    lines = [f"| method | seeds | {metric} | against {bar} | CPU s |", "|---|---|---|---|---|"]
    for method in (m for m in order if m in wide):
        own = wide[method]
        found = gaps(own, wide[bar], ["value"]).get("value") if method != bar else None
        gap = "" if found is None else f"{found[0]:+.3f} ± {found[1]:.3f}"
        seconds = rows.loc[rows["method"] == method, "cpu_s"].mean()
        mean = f"{own['value'].mean():.3f}" + (f" ± {reach(own['value']):.3f}" if len(own) > 1 else "")
        lines.append(f"| {method} | {len(own)} | {mean} | {gap} | {seconds:.0f} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, then print the tables."""
    parser = options(__doc__)
    parser.add_argument("--shows", nargs="+", choices=SHOWS, default=list(SHOWS), help="which zoos")
    parser.add_argument(
        "--methods", nargs="*", choices=METHODS, default=list(METHODS), help="rows of the tables"
    )
    parser.add_argument("--seeds", type=int, default=5, help="splits")
    parser.add_argument("--zoos", type=Path, default=HERE / "out", help="where the networks are, or will be")
    parser.add_argument("--processes", type=int, default=2, help="of one thread each")
    asked = parser.parse_args()
    with folder(HERE, asked.quick) as here:
        if asked.quick:
            asked.shows, asked.seeds, asked.zoos = [EDITED], 1, here / "out"
        path = here / "results.csv"
        if not asked.table:
            for show in asked.shows:
                shown(show, str(asked.zoos))
            do(path, jobs(asked, 0.1 if asked.quick else 1.0), work, asked.processes)
        print(tables(read(path)))


if __name__ == "__main__":
    main()
