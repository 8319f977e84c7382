"""What a trial costs in Optuna's own SQL storage and in ours, side by side.

    python benchmarks/store.py [--quick]

One trial is `study.ask`, 20 parameters and `study.tell`, with random sampling, so that the storage is what
takes the time. Both storages work in fresh SQLite files in the same folder, with their default settings; short
blocks of trials alternate between them, and every number is a median over blocks. The control row is our
storage against itself. History is inserted straight into the tables, and read back through each storage.

The second table is a trial of `nasplat run`: 20 choices, random sampling, a metric that adds numbers; sampler, checks
for repeats, architecture and evaluation rows included. Its history comes from running the study itself.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
from sqlalchemy import create_engine, insert, text

from nasplat.store import OptunaStorage
from nasplat.study import Study, open_study
from nasplat.study.run import Silence

HISTORIES = (0, 1_000, 10_000)
SPACE: dict[str, BaseDistribution] = {
    **{f"x{i}": FloatDistribution(0.0, 1.0) for i in range(10)},
    **{f"n{i}": IntDistribution(1, 9) for i in range(6)},
    **{f"c{i}": CategoricalDistribution(("a", "b", "c")) for i in range(4)},
}


@dataclass(frozen=True, slots=True)
class Size:
    """How many blocks of how many trials: Optuna's trials are slow, so it gets fewer."""

    blocks: int
    theirs: int
    ours: int


FULL, QUICK = Size(9, 10, 40), Size(5, 3, 20)


def run_trial(study: optuna.Study) -> None:
    """One trial of 20 parameters: 10 floats, 6 integers, 4 categories."""
    trial = study.ask()
    total = sum(trial.suggest_float(f"x{i}", 0.0, 1.0) for i in range(10))
    total += sum(trial.suggest_int(f"n{i}", 1, 9) for i in range(6))
    for i in range(4):
        trial.suggest_categorical(f"c{i}", ("a", "b", "c"))
    study.tell(trial, total)


def milliseconds(study: optuna.Study, trials: int) -> float:
    """Wall time per trial of one block, after one trial that warms the processor's caches."""
    run_trial(study)
    start = time.perf_counter()
    for _ in range(trials):
        run_trial(study)
    return (time.perf_counter() - start) / trials * 1e3


def new_study(storage: BaseStorage, name: str = "study") -> optuna.Study:
    """A study with random sampling."""
    return optuna.create_study(
        storage=storage, study_name=name, sampler=optuna.samplers.RandomSampler(seed=0)
    )


def fill_theirs(path: Path, count: int) -> None:
    """Insert finished trials into the tables of Optuna's storage."""
    from optuna.storages._rdb import models

    now, numbers = datetime.now(), range(1, count + 1)
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.execute(
            insert(models.TrialModel),
            [
                {
                    "trial_id": n,
                    "number": n - 1,
                    "study_id": 1,
                    "state": "COMPLETE",
                    "datetime_start": now,
                    "datetime_complete": now,
                }
                for n in numbers
            ],
        )
        connection.execute(
            insert(models.TrialValueModel),
            [{"trial_id": n, "objective": 0, "value": float(n), "value_type": "FINITE"} for n in numbers],
        )
        connection.execute(
            insert(models.TrialParamModel),
            [
                {
                    "trial_id": n,
                    "param_name": name,
                    "param_value": 1.0,
                    "distribution_json": distribution_to_json(distribution),
                }
                for n in numbers
                for name, distribution in SPACE.items()
            ],
        )
    engine.dispose()


def fill_ours(path: Path, count: int) -> None:
    """Insert finished trials into our tables."""
    contents = {name: distribution_to_json(distribution) for name, distribution in SPACE.items()}
    params = {name: distribution.to_external_repr(1.0) for name, distribution in SPACE.items()}
    rows = [
        {
            "number": n,
            "params": json.dumps(params),
            "ids": json.dumps(list(range(1, 21))),
            "value": f"[{n}.0]",
        }
        for n in range(count)
    ]
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO nasplat_distribution (study_id, name, hash, content) VALUES (1, :n, :n, :c)"),
            [{"n": name, "c": content} for name, content in contents.items()],
        )
        connection.execute(
            text(
                "INSERT INTO nasplat_trial (study_id, number, state, params, distributions, objective_values, "
                "constraints, system_attrs, user_attrs, attempt, started, finished, revision) "
                "VALUES (1, :number, 'complete', :params, :ids, :value, '{}', '{}', '{}', 1, 0, 1, :number + 1)"
            ),
            rows,
        )
        connection.execute(text(f"UPDATE nasplat_study SET revision = {count}, trial_count = {count}"))
    engine.dispose()


def check_history(storage: BaseStorage, count: int) -> float:
    """Read the history as a fresh process would; the seconds that it takes."""
    start = time.perf_counter()
    trials = storage.get_all_trials(storage.get_study_id_from_name("study"), deepcopy=False)
    seconds = time.perf_counter() - start
    assert len(trials) == count
    if count:
        last = trials[-1]
        assert last.number == count - 1
        assert last.state == optuna.trial.TrialState.COMPLETE
        assert last.distributions == SPACE
        assert last.params["c0"] == "b"
    return seconds


def filled(folder: Path, count: int) -> tuple[BaseStorage, BaseStorage, dict[str, float]]:
    """Optuna's storage and ours with a history, opened afresh, and the seconds to read it."""
    theirs, ours = folder / f"theirs-{count}.db", folder / f"ours-{count}.db"
    makers: Mapping[str, tuple[Path, Callable[[str], BaseStorage], Callable[[Path, int], None]]] = {
        "theirs": (theirs, RDBStorage, fill_theirs),
        "ours": (ours, OptunaStorage, fill_ours),
    }
    storages, seconds = {}, {}
    for side, (path, make, fill) in makers.items():
        new_study(make(f"sqlite:///{path}"))
        if count:
            fill(path, count)
        storages[side] = make(f"sqlite:///{path}")
        seconds[side] = check_history(storages[side], count)
    return storages["theirs"], storages["ours"], seconds


def compare(theirs: optuna.Study, ours: optuna.Study, size: Size) -> tuple[float, float, float]:
    """Milliseconds per trial of Optuna's storage, of ours, and of ours again as the control."""
    blocks = [
        (milliseconds(theirs, size.theirs), milliseconds(ours, size.ours), milliseconds(ours, size.ours))
        for _ in range(size.blocks)
    ]
    first, second, third = (statistics.median(column) for column in zip(*blocks, strict=True))
    return first, second, third


def load(storage: BaseStorage) -> optuna.Study:
    """The study of a filled storage."""
    return optuna.load_study(
        study_name="study", storage=storage, sampler=optuna.samplers.RandomSampler(seed=1)
    )


def report_optuna(folder: Path, size: Size) -> dict[str, float]:
    """The rows of Optuna trials, printed; their figures."""
    figures: dict[str, float] = {}
    speedups, own = [], []
    print(f"{'history':>8} {'RDB ms':>9} {'ours ms':>9} {'speed-up':>9} {'ours/ours':>10}", end="")
    print(f" {'RDB read s':>11} {'ours read s':>12}")
    for count in HISTORIES:
        theirs, ours, seconds = filled(folder, count)
        rdb, mine, again = compare(load(theirs), load(ours), size)
        speedups.append(rdb / mine)
        own.append(mine)
        print(f"{count:>8} {rdb:>9.2f} {mine:>9.2f} {rdb / mine:>8.1f}x {mine / again:>10.2f}", end="")
        print(f" {seconds['theirs']:>11.2f} {seconds['ours']:>12.2f}")
        figures |= {
            f"rdb_ms_at_{count}": rdb,
            f"ours_ms_at_{count}": mine,
            f"control_at_{count}": mine / again,
        }
        if count == HISTORIES[-1]:
            figures |= {"resume_s": seconds["ours"], "rdb_resume_s": seconds["theirs"]}
    memory = statistics.median(
        milliseconds(new_study(InMemoryStorage()), size.ours) for _ in range(size.blocks)
    )
    print(f"{'memory':>8} {memory:>9.2f}   (Optuna's in-memory storage, which keeps nothing)")
    figures |= {"memory_ms": memory, "growth": own[-1] / own[0]}
    return {"speedup_over_optuna_rdb": min(speedups), **figures}


PAGE = """
[study]
name = "study"
[space]
name = "trivial.py:SPACE"
[sampler]
name = "random"
[[objective]]
metric = "trivial.py:total"
direction = "maximize"
"""
CODE = """
from nasplat import Space, categorical, ordinal

CHOICES = [ordinal(f"n{i}", range(1, 10)) for i in range(16)]
CHOICES += [categorical(f"c{i}", ("a", "b", "c")) for i in range(4)]
SPACE = lambda: Space("trivial", CHOICES)
total = lambda candidate: sum(candidate.arch[f"n{i}"] for i in range(16))
"""


class Stopwatch(Silence):
    """The milliseconds between the ends of trials."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def trial(self, done: int, total: int, line: str) -> None:
        self.times.append(time.perf_counter() * 1e3)

    def median(self) -> float:
        """The median time of a trial, the first one of the call left out."""
        return statistics.median(b - a for a, b in pairwise(self.times))


def run_block(study: Study, done: int, trials: int) -> float:
    """Milliseconds per trial of `nasplat run`, for the trials after `done`."""
    watch = Stopwatch()
    study.run(done + trials + 1, watcher=watch)
    return watch.median()


def report_run(folder: Path, size: Size) -> dict[str, float]:
    """The rows of `nasplat run`, printed; their figures."""
    (folder / "study.toml").write_text(PAGE)
    (folder / "trivial.py").write_text(CODE)
    study, figures, speedups = open_study(folder), {}, []
    print(f"{'history':>8} {'RDB ms':>9} {'run ms':>9} {'speed-up':>9} {'run/run':>10} {'join s':>11}")
    for count in HISTORIES:
        if count:
            study.run(count)
        theirs = load(filled(folder, count)[0])
        done, blocks = count, []
        for _ in range(size.blocks):
            pair = [run_block(study, done + i * (size.ours + 1), size.ours) for i in range(2)]
            done += 2 * (size.ours + 1)
            blocks.append((milliseconds(theirs, size.theirs), *pair))
        rdb, mine, again = (statistics.median(column) for column in zip(*blocks, strict=True))
        start = time.perf_counter()
        study.run(done)  # nothing is left to do: reading the store and filling the mirror is all
        joined = time.perf_counter() - start
        speedups.append(rdb / mine)
        print(
            f"{count:>8} {rdb:>9.2f} {mine:>9.2f} {rdb / mine:>8.1f}x {mine / again:>10.2f} {joined:>11.2f}"
        )
        figures |= {f"run_ms_at_{count}": mine, f"run_join_s_at_{count}": joined}
    return {"run_speedup_over_optuna_rdb": min(speedups), **figures}


REPORTS: dict[str, Callable[[Path, Size], dict[str, float]]] = {
    "a 20-parameter Optuna trial": report_optuna,
    "a trial of `nasplat run` with 20 choices and a trivial metric": report_run,
}


def main() -> None:
    """Print each report and, last, its figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer trials: within two minutes on 2 cores")
    size = QUICK if parser.parse_args().quick else FULL
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    figures: dict[str, float] = {}
    for title, report in REPORTS.items():
        print(title)
        with tempfile.TemporaryDirectory() as folder:
            figures |= report(Path(folder), size)
        print()
    print(json.dumps({"figures": {name: round(value, 3) for name, value in figures.items()}}))


if __name__ == "__main__":
    main()
