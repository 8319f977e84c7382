"""Five networks of the front: with the supernet's weights, trained alone, and beside plainly scaled networks.

    NASPLAT_DATA=... python studies/cifar10_ofa/compare.py [--gpu] [--quick] [--table]

Runs the search as far as it has not been run, exports five networks of the front into out/, and trains each alone by
the supernet's recipe, for as many epochs; so it does with MobileNets and ResNets that are scaled by one width. All
latencies are measured anew, one network after the other on the quiet machine, and the test split is read once for each
network. Every row goes to results.csv as soon as it is known; run again, and what is there is not done again. --gpu
takes study_gpu.toml and results_gpu.csv; --table only prints the tables; --quick does everything at a small size, in a
temporary folder.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from nasplat import Study, load, open_study
from nasplat.data import evaluate
from nasplat.errors import NasplatError
from nasplat.measure import count_params
from nasplat.metric import Candidate, Workbench, make_metric
from nasplat.study.assembly import assemble
from nasplat.supernet import Recipe, Settings, train_network

HERE = Path(__file__).resolve().parent
FRONT = 5
COLUMNS = ["family", "network", "key", "what", "seed", "value", "unit", "origin"]
QUICK = {"limit = 10_000": "limit = 1_500", "validation = 1_000": "validation = 300"}
QUICK |= {"validation = 5_000": "validation = 300\nlimit = 1_500", "epochs = 120": "epochs = 1"}
QUICK |= {"epochs = 12": "epochs = 1", "trials = 60": "trials = 8", "trials = 300": "trials = 8"}


@dataclass(frozen=True, slots=True)
class Setup:
    """Where a comparison runs. scaled: for each family its space, its fixed arguments, and the one that scales it."""

    page: str
    results: str
    device: str
    scaled: Mapping[str, tuple[str, Mapping[str, Any], str, tuple[Any, ...]]]
    seeds: tuple[int, ...]


SMALL_MOBILENET = {"depth": [2], "kernel": [3], "expand": [3], "strides": [2, 2, 2, 1, 1, 1]}
SMALL_RESNET = {"depth": [[1]] * 4, "width": [1.0], "expand": [0.25], "stem_depth": [0]}
MOBILENET = {"depth": [3], "kernel": [3], "expand": [4]}
RESNET = {"depth": [[2]] * 4, "width": [1.0], "expand": [0.25], "stem_depth": [0]}
CPU = Setup(
    "study.toml",
    "results.csv",
    "cpu",
    {
        "MobileNet": ("ofa_mobilenet", SMALL_MOBILENET, "width", (0.2, 0.35, 0.5)),
        "ResNet": ("ofa_resnet", {**SMALL_RESNET, "strides": [2, 1, 2, 2, 1, 1]}, "channels", (8, 16, 24)),
    },
    (0,),
)
GPU = Setup(
    "study_gpu.toml",
    "results_gpu.csv",
    "cuda",
    {
        "MobileNet": ("ofa_mobilenet", MOBILENET, "width", (0.35, 0.5, 0.75, 1.0)),
        "ResNet": ("ofa_resnet", RESNET, "channels", (8, 16, 24, 32)),
    },
    (0, 1, 2),
)


@dataclass(frozen=True, slots=True)
class Subject:
    """A network to train alone: its family, what it is called, and how a fresh one is built from a seed."""

    family: str
    name: str
    key: str
    build: Callable[[int], nn.Module]


@dataclass(frozen=True, slots=True)
class Book:
    """The results file, a row for each number."""

    path: Path

    def rows(self) -> pd.DataFrame:
        """All rows so far."""
        return pd.read_csv(self.path) if self.path.exists() else pd.DataFrame(columns=COLUMNS)

    def has(self, subject: Subject, what: str, seed: int = 0) -> bool:
        """Whether a number is there."""
        rows = self.rows()
        return bool(((rows["key"] == subject.key) & (rows["what"] == what) & (rows["seed"] == seed)).any())

    def keep(self, keys: Iterable[str]) -> None:
        """Drop the rows of other networks: those of another search."""
        rows = self.rows()
        rows[rows["key"].isin(keys)].to_csv(self.path, index=False)

    def write(self, subject: Subject, numbers: Iterable[Mapping[str, Any]]) -> None:
        """Add numbers of a network."""
        named = {
            "family": subject.family,
            "network": subject.name,
            "key": subject.key,
            "seed": 0,
            "unit": "1",
        }
        rows = pd.DataFrame([{**named, **number} for number in numbers])
        rows[COLUMNS].to_csv(self.path, mode="a", index=False, header=False)


def main() -> None:
    """Run what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gpu", action="store_true", help="the full configuration, on a GPU")
    parser.add_argument(
        "--quick", action="store_true", help="a dry run at a small size, in a temporary folder"
    )
    parser.add_argument("--table", action="store_true", help="only print the tables of the results")
    asked = parser.parse_args()
    setup = GPU if asked.gpu else CPU
    with tempfile.TemporaryDirectory() as scratch:
        page = small(setup, Path(scratch)) if asked.quick else HERE / setup.page
        book = Book(page.parent / setup.results)
        try:
            if not asked.table:
                compare(setup, open_study(page), book)
        except NasplatError as error:
            sys.exit(str(error))
        print(tables(book.rows()))


def small(setup: Setup, folder: Path) -> Path:
    """The study file at a small size, in another folder."""
    page = (HERE / setup.page).read_text()
    for long, short in QUICK.items():
        page = page.replace(long, short)
    path = folder / setup.page
    path.write_text(page)
    return path


def compare(setup: Setup, study: Study, book: Book) -> None:
    """Search, export, train alone, measure; write each number that is not there yet."""
    study.run(device=setup.device)
    assembly = assemble(study, setup.device)
    bench, training = assembly.bench, assembly.training
    assert training is not None, "the study file has a [supernet] table"
    chosen = dict(front(study, bench))
    subjects = [*chosen, *scaled(setup, bench)]
    book.keep(subject.key for subject in subjects)
    for subject, number in chosen.items():
        if not book.has(subject, "inherited"):
            book.write(subject, inherited(study, number))
    for subject in subjects:
        if not book.has(subject, "latency"):
            book.write(subject, [latency(subject, study, bench)])
    for seed in setup.seeds:
        for subject in subjects:
            if not book.has(subject, "alone", seed):
                book.write(subject, [alone(subject, bench, training.recipe, seed)])


def front(study: Study, bench: Workbench) -> Iterator[tuple[Subject, int]]:
    """Networks of the front with their trials: the fastest, the most accurate, and evenly in between."""
    rows = study.front().sort_values("latency")
    for place in np.unique(np.linspace(0, len(rows) - 1, FRONT).round().astype(int)):
        number = int(rows["number"].iloc[place])
        arch = bench.space.arch(study[number].arch)
        yield Subject("front", f"trial {number}", arch.key, partial(bench.space.build, arch)), number


def scaled(setup: Setup, bench: Workbench) -> Iterator[Subject]:
    """Networks of one plain shape each, wider and wider."""
    data = bench.need_data("accuracy")
    for family, (name, fixed, scale, sizes) in setup.scaled.items():
        for size in sizes:
            space = load("spaces", name)(
                input_shape=data.input_shape, classes=data.classes, **fixed, **{scale: size}
            )
            title = f"{family}, {scale} {size}"
            yield Subject(family, title, f"{space.hash[:12]}", partial(space.build, space.largest()))


def inherited(study: Study, number: int) -> Iterator[Mapping[str, Any]]:
    """What the search knew of a network, and what the card of its export says of the test split."""
    bundle = study.export(number, study.folder / "out" / f"{study.name}-{number}", ["state"], overwrite=True)
    card = json.loads((bundle.folder / "card.json").read_text())
    yield {"what": "inherited", "value": card["test"]["accuracy"], "origin": "test"}
    yield {"what": "inherited, validation", "value": study[number].values["accuracy"], "origin": "validation"}


def latency(subject: Subject, study: Study, bench: Workbench) -> Mapping[str, Any]:
    """A latency as the search measures it: the least noisy of three."""
    asked = next(objective for objective in study.page.objective if objective.metric == "latency")
    metric = make_metric("latency", asked.arguments, bench)
    candidate = Candidate(bench.space.largest(), bench)
    candidate.restore(subject.build(0))
    found = metric.measure(candidate)
    machine = f"{metric.origin['machine']['name']}, batch {asked.arguments.get('batch', 1)}"
    return {"what": "latency", "value": found.value, "unit": "ms", "origin": machine}


def alone(subject: Subject, bench: Workbench, recipe: Recipe, seed: int) -> Mapping[str, Any]:
    """Test accuracy of a network trained from scratch by the supernet's recipe."""
    network, data = subject.build(seed), bench.need_data("accuracy")
    train_network(network, data, recipe, Settings(device=bench.device, seed=seed))
    accuracy = evaluate(network, data.test, data.task, device=bench.device)
    origin = f"test, {recipe.epochs} epochs, {count_params(network):,} parameters, torch {torch.__version__}"
    return {"what": "alone", "seed": seed, "value": accuracy, "origin": origin}


def tables(rows: pd.DataFrame) -> str:
    """All networks; and those of the front beside the scaled families at equal latency."""
    wide = rows.pivot_table(index=["family", "network"], columns="what", values="value", sort=False)
    lines = ["| network | latency | inherited | alone |", "|---|---|---|---|"]
    for (_, name), row in wide.sort_values("latency").iterrows():
        old = f"{row['inherited']:.4f}" if row["inherited"] == row["inherited"] else ""
        lines.append(f"| {name} | {row['latency']:.2f} ms | {old} | {row['alone']:.4f} |")
    families = [family for family in dict.fromkeys(wide.index.get_level_values(0)) if family != "front"]
    head = " | ".join(f"{family} at its latency" for family in families)
    lines += ["", f"| network of the front | latency | alone | {head} |", "|---" * (3 + len(families)) + "|"]
    for name, row in wide.loc["front"].sort_values("latency").iterrows():
        others = " | ".join(at_latency(row, wide.loc[family]) for family in families)
        lines.append(f"| {name} | {row['latency']:.2f} ms | {row['alone']:.4f} | {others} |")
    return "\n".join(lines)


def at_latency(row: pd.Series, family: pd.DataFrame) -> str:
    """A family's accuracy alone at a network's latency, straight between its members over log latency, and the gain."""
    family = family.sort_values("latency")
    if not family["latency"].min() <= row["latency"] <= family["latency"].max():
        return "none as fast" if row["latency"] < family["latency"].min() else "none as slow"
    accuracy = float(np.interp(np.log(row["latency"]), np.log(family["latency"]), family["alone"]))
    return f"{accuracy:.4f} ({row['alone'] - accuracy:+.4f})"


if __name__ == "__main__":
    main()
