"""Does a metanetwork prune better than weights, sparse training, or a greedy look at the loss?

    python studies/prune_resnet/run.py [--quick] [--table] [--methods L2 ...] [--networks 6] [--processes 2]

Trains the networks that are pruned and those that metanetworks learn from, then prunes and finetunes: one job for each
method, network and speed-up. Latency comes last, alone. Every finished job is in results.csv at once, and the same
command goes on with the rest. --table only prints the tables of what is there. --quick does everything small, in a
temporary folder. The metanetworks are those that nasplat ships; studies/meta_pruning trains them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded, here and in the workers
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # what the studies have in common

import torch
from jobs import Job, LatencyJob, TrainingJob, work
from ledger import do, folder, options, read
from methods import META_SECONDS, METHODS, UNPRUNED
from networks import BASES, RECIPE, RESNETS, Plan, train
from proposals import Size
from tables import tables

HERE = Path(__file__).resolve().parent
FULL, SHORT, QUICK = Size(), Size(epochs=2, first=1), Size(images=1000, epochs=2, first=1)
BOTH, MORE = (2.0, 3.0), (1.5, 4.0)
"""Speed-ups of all networks, and of the first alone."""


def jobs(methods: Sequence[str], networks: int, size: Size, folder: Path) -> Iterator[Job]:
    """Network by network, so that a run that is stopped has whole comparisons."""
    make = partial(Job, size=size, folder=str(folder))
    for network in range(networks):
        yield make(UNPRUNED, network, 1.0)
        for speedup in (*BOTH, *MORE) if network == 0 else BOTH:
            yield from (make(name, network, speedup) for name in methods if name != UNPRUNED)


def train_networks(place: Path, size: Size, quick: bool, processes: int) -> None:
    """All networks that are not there yet."""
    recipe = replace(RECIPE, epochs=1) if quick else RECIPE
    plans: list[Plan] = list(BASES[:2]) if quick else [*RESNETS, *BASES]
    with ProcessPoolExecutor(processes, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        list(pool.map(partial(train, here=place, recipe=recipe, images=size.images), plans))


def main() -> None:
    """Run what is missing, then print the tables."""
    parser = options(__doc__)
    parser.add_argument(
        "--methods", nargs="+", choices=METHODS, default=list(METHODS), help="rows of the tables"
    )
    parser.add_argument("--networks", type=int, default=len(BASES), help="how many are pruned")
    parser.add_argument("--processes", type=int, default=2, help="of one thread each")
    asked = parser.parse_args()
    if asked.quick:
        asked.networks = min(asked.networks, 2)
    with folder(HERE, asked.quick) as here:
        path, place, size = here / "results.csv", here / "out", QUICK if asked.quick else FULL
        if not asked.table:
            train_networks(place, size, asked.quick, asked.processes)
            todo = list(jobs(asked.methods, asked.networks, size, place))
            short = (
                [] if asked.quick else [replace(job, size=SHORT) for job in todo if job.speedup not in MORE]
            )
            do(path, [*short, *todo], work, asked.processes)
            metas = [name for name in META_SECONDS if name in asked.methods and not asked.quick]
            do(path, [TrainingJob(name, str(place)) for name in metas], work, 1)
            do(path, [LatencyJob(job) for job in todo if job.network == 0], work, 1)
        print(tables(read(path)))


if __name__ == "__main__":
    main()
