"""Three networks of the front: with the weights of the supernet, and trained alone.

    NASPLAT_DATA=... python studies/fashion_mnist/compare.py [--quick] [--table]

Runs the search as far as it has not been run, exports the fastest, the knee and the most accurate network into out/,
and trains each alone by the supernet's recipe, for as many epochs. The test split is read once for each network.
Every row goes to results.csv as soon as it is known; run again, and what is there is not done again. --table only
prints the table; --quick does everything at a small size, in a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from nasplat import Study, open_study
from nasplat.data import evaluate
from nasplat.errors import NasplatError
from nasplat.measure import count_params
from nasplat.study.assembly import assemble
from nasplat.supernet import Recipe, Settings, train_network

HERE = Path(__file__).resolve().parent
CHOSEN = ("best:latency", "knee", "best:accuracy")
SEEDS = (0, 1)
COLUMNS = ["network", "arch", "what", "seed", "budget", "value", "unit", "origin"]
QUICK = {"limit = 30_000": "limit = 2_000", "validation = 3_000": "validation = 500"}
QUICK |= {"epochs = 16": "epochs = 1", "trials = 80": "trials = 6"}


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="a dry run at a small size, in a temporary folder"
    )
    parser.add_argument("--table", action="store_true", help="only print the table of results.csv")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = small(Path(scratch)) if asked.quick else HERE
        try:
            if not asked.table:
                compare(folder, SEEDS[:1] if asked.quick else SEEDS)
        except NasplatError as error:
            sys.exit(str(error))
        print(table(pd.read_csv(folder / "results.csv")))


def small(folder: Path) -> Path:
    """A folder with the study at a small size."""
    page = (HERE / "study.toml").read_text()
    for long, short in QUICK.items():
        page = page.replace(long, short)
    (folder / "study.toml").write_text(page)
    return folder


def compare(folder: Path, seeds: tuple[int, ...]) -> None:
    """Search, export, train alone; write each row that is not there yet."""
    study, path = open_study(folder), folder / "results.csv"
    study.run(device="cpu")
    trials = {study[which].key: (which, study[which]) for which in CHOSEN}
    known = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=COLUMNS)
    known = known[known["arch"].isin(trials)]  # rows of another search go
    known.to_csv(path, index=False)
    for key, (which, trial) in trials.items():
        row, mine = {"network": f"{which}, trial {trial.number}", "arch": key}, known[known["arch"] == key]
        if "inherited" not in set(mine["what"]):
            append(path, row, inherited(study, which, folder / "out" / which.replace(":", "-")))
        for seed in seeds:
            if not ((mine["what"] == "alone") & (mine["seed"] == seed)).any():
                append(path, row, [alone(study, trial.arch, seed)])


def inherited(study: Study, which: str, out: Path) -> Iterator[Mapping[str, Any]]:
    """What the search knew of a network, and the card of its export says of the test split."""
    bundle = study.export(which, out, ["state", "pt2"], overwrite=True)
    card = json.loads((bundle.folder / "card.json").read_text())
    budget = f"supernet of {recipe_of(study).epochs} epochs"
    machine = card["latency"]["device"]
    row = {"seed": 0, "budget": budget, "unit": "1", "origin": f"test, torch {torch.__version__}"}
    yield row | {"what": "inherited", "value": card["test"]["accuracy"]}
    yield row | {
        "what": "inherited, validation",
        "value": study[which].values["accuracy"],
        "origin": "validation",
    }
    yield row | {"what": "latency", "value": card["latency"]["median_ms"], "unit": "ms", "origin": machine}


def alone(study: Study, choices: Mapping[str, Any], seed: int) -> Mapping[str, Any]:
    """An architecture from scratch by the supernet's recipe."""
    bench, recipe = assemble(study, "cpu").bench, recipe_of(study)
    data = bench.need_data("accuracy")
    network = bench.space.build(bench.space.arch(choices), seed)
    report = train_network(network, data, recipe, Settings(seed=seed))
    return {
        "what": "alone",
        "seed": seed,
        "budget": f"{recipe.epochs} epochs, {report.seconds:.0f} s, {count_params(network):,} parameters",
        "value": evaluate(network, data.test, data.task),
        "unit": "1",
        "origin": f"test, torch {torch.__version__}",
    }


def recipe_of(study: Study) -> Recipe:
    """The recipe of the study's supernet, the space's defaults included."""
    training = assemble(study, "cpu").training
    assert training is not None, "the study file has a [supernet] table"
    return training.recipe


def append(path: Path, row: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> None:
    """Add rows to the results file."""
    full = pd.DataFrame([{**row, **found} for found in rows])
    full[COLUMNS].to_csv(path, mode="a", index=False, header=False)


def table(rows: pd.DataFrame) -> str:
    """A line for each network: latency, test accuracy inherited, and alone with its range over seeds."""
    lines = [
        "| network | latency | inherited | alone [range] | seeds | alone - inherited |",
        "|---|---|---|---|---|---|",
    ]
    for name, group in rows.groupby("network", sort=False):
        value = group.set_index("what")["value"]
        alone = group[group["what"] == "alone"]["value"]
        lines.append(
            f"| {name} | {value['latency']:.2f} ms | {value['inherited']:.4f} | {alone.mean():.4f} "
            f"[{alone.min():.4f}, {alone.max():.4f}] | {len(alone)} | {alone.mean() - value['inherited']:+.4f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
