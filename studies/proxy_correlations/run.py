"""Do our zero-cost scores rank NAS-Bench-201 as the published ones do?

    NASPLAT_DATA=... python studies/proxy_correlations/run.py [--quick] [--table] [--device cuda]
                                                              [--networks 725] [--costly 200] [--processes 2]

Scores of untrained networks on one batch of CIFAR-10 images, for the networks whose published scores and accuracies are
in NASPLAT_DATA/zero_cost/nb201_zc.csv.gz. The cheap ones are computed for all of them, the costly ones for a fixed
random sample. A network's scores are appended to scores.csv as it ends, so that the command goes on where it was
stopped; values by module go to layers/, which is not kept in the repository. results.csv has a row for each score.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded, here and in the workers
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # what the studies have in common

import numpy as np
import torch
from correlations import correlation_table, known_scores
from ledger import do, folder, options, read

import nasplat as nas
from nasplat.data import Split, load_data
from nasplat.files import write_atomic

HERE = Path(__file__).resolve().parent
CHEAP = (
    *("params", "macs", "l2_norm", "grad_norm", "snip", "plain", "fisher", "jacov", "epe_nas", "nwot"),
    *("synflow", "linear_regions"),
)
COSTLY = ("grasp", "zen", "zico", "ntk", "az_expressivity", "az_progressivity", "az_trainability")
BATCH, SEED = 64, 0
AGAIN, SMALLER = ("epe_nas",), 32
"""Once more with as many images as the published scores seem to have seen, where that makes a difference."""


@dataclass(frozen=True, slots=True)
class Job:
    """Some scores of one network; where values by module go."""

    index: int
    text: str
    scores: tuple[str, ...]
    place: Path
    device: str
    batch: int = BATCH

    @property
    def name(self) -> str:
        """Unique in the file."""
        return f"{self.index} {self.scores[0]}{self.ending}"

    @property
    def ending(self) -> str:
        """What is added to the names of scores of another batch."""
        return "" if self.batch == BATCH else f", batch {self.batch}"


@cache
def images(device: str) -> Split:
    """The first training images of CIFAR-10, normalised, without augmentation."""
    train = load_data("cifar10", augment=False).train
    return Split(train.inputs[:BATCH].to(device), train.targets[:BATCH].to(device))


def work(job: Job) -> list[dict[str, Any]]:
    """A row for each score of the network."""
    torch.set_num_threads(1)
    space = nas.load("spaces", "nasbench201")()
    network = space.build(space.arch(space.notation.read(job.text)), SEED).to(job.device)
    seen = images(job.device)
    inputs, labels = seen.inputs[: job.batch], seen.targets[: job.batch]
    found = nas.score(network, inputs, labels, job.scores, seed=SEED, init="PyTorch's default")
    layers = {name: result.per_module for name, result in found.items()}
    write_atomic(job.place / "layers" / f"{job.index}-{job.scores[0]}{job.ending}.json", json.dumps(layers))
    return [
        {
            "job": job.name,
            "index": job.index,
            "score": f"{name}{job.ending}",
            "value": f"{result.value:.10g}",
            "status": result.status,
            "reason": result.reason,
            "seconds": f"{result.seconds:.3g}",
            "device": job.device,
        }
        for name, result in found.items()
    ]


def jobs(asked: argparse.Namespace, place: Path) -> Iterator[Job]:
    """The cheap scores of every network, then the costly ones of the sample, in one fixed random order."""
    table = known_scores()
    order = table.iloc[np.random.default_rng(0).permutation(len(table))]
    parts = ((CHEAP, asked.networks, BATCH), (COSTLY, asked.costly, BATCH), (AGAIN, asked.networks, SMALLER))
    for scores, count, size in parts:
        for index, text in order[["index", "arch_str"]].head(count).itertuples(index=False):
            yield Job(int(index), text, scores, place, asked.device, size)


def origin(device: str) -> str:
    """What the numbers depend on beside networks and images."""
    return f"nasplat {nas.__version__}, torch {torch.__version__}, {device}, seed {SEED}, batch {BATCH}"


def asked_for() -> argparse.Namespace:
    """The options of the command line."""
    parser = options(__doc__)
    parser.add_argument("--networks", type=int, default=725, help="for the cheap scores")
    parser.add_argument("--costly", type=int, default=200, help="networks for the costly scores")
    parser.add_argument("--device", default="cpu", help="such as cuda")
    parser.add_argument("--processes", type=int, default=2, help="networks at a time")
    asked = parser.parse_args()
    if asked.quick:
        asked.networks, asked.costly = 12, 4
    return asked


def main() -> None:
    """Run what is missing, then print the tables."""
    asked = asked_for()
    with folder(HERE, asked.quick) as place:
        path = place / "scores.csv"
        if not asked.table:
            do(path, jobs(asked, place), work, asked.processes)
        rows = read(path)
        found, text = correlation_table(rows)
        found.assign(origin=origin(asked.device)).to_csv(place / "results.csv", index=False)
        print(f"{text}\n\n{rows['index'].nunique()} networks; batch {BATCH} unless said, seed {SEED}.")


if __name__ == "__main__":
    main()
