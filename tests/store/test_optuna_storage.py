"""Optuna's own storage tests, on our tables, and Optuna's tools on our studies."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib as mpl
import numpy as np
import optuna
import pytest
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.study import StudyDirection
from optuna.study.study import _SYSTEM_ATTR_METRIC_NAMES
from optuna.testing.pytest_storages import StorageTestCase
from optuna.trial import TrialState

from nasplat.errors import StoreError
from nasplat.store import OptunaStorage, Outcome, Proposal, SpaceRecord, Store, StudyRecord, worker_name
from nasplat.store.studies import METRIC_NAMES

URL = "sqlite:///study.db"
DISTRIBUTIONS = {
    "depth": IntDistribution(1, 4),
    "width": CategoricalDistribution((8, 16, None)),
    "rate": FloatDistribution(1e-4, 1e-1, log=True),
}
CODE = """
import sys
import optuna
from nasplat.store import OptunaStorage
optuna.logging.set_verbosity(optuna.logging.ERROR)
study = optuna.load_study(study_name="s", storage=OptunaStorage(sys.argv[1]))
study.optimize(lambda trial: trial.suggest_float("x", -1, 1) ** 2, n_trials=20)
"""


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[OptunaStorage]:
    storage = OptunaStorage(URL, base=tmp_path)
    yield storage
    storage.close()


class TestPublicStorageCases(StorageTestCase):
    """Every case that Optuna asks of a storage."""


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(optuna.logging.INFO)


def objective(trial: optuna.Trial) -> float:
    x = trial.suggest_float("x", -1, 1)
    return x**2 + (trial.suggest_categorical("kind", ("a", "b")) == "b") + trial.suggest_int("n", 0, 3)


SAMPLERS: dict[str, Callable[[], optuna.samplers.BaseSampler]] = {
    "tpe": lambda: optuna.samplers.TPESampler(seed=0, n_startup_trials=5),
    "random": lambda: optuna.samplers.RandomSampler(seed=0),
    "nsga2": lambda: optuna.samplers.NSGAIISampler(seed=0, population_size=5),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_propose_what_they_propose_in_memory(storage: OptunaStorage, name: str) -> None:
    results = []
    for place in (storage, optuna.storages.InMemoryStorage()):
        study = optuna.create_study(storage=place, sampler=SAMPLERS[name]())
        study.optimize(objective, n_trials=15)
        results.append([(trial.params, trial.values) for trial in study.trials])
    assert results[0] == results[1]


def test_a_reopened_storage_reads_what_was_written(storage: OptunaStorage, tmp_path: Path) -> None:
    study = optuna.create_study(storage=storage, study_name="s")
    study.enqueue_trial({"x": 0.5})
    study.optimize(objective, n_trials=10)
    other = OptunaStorage(URL, base=tmp_path)
    again = optuna.load_study(study_name="s", storage=other)
    assert again.trials == study.trials
    assert again.best_trial == study.best_trial == min(study.trials, key=lambda t: t.values[0])
    other.close()


def test_another_process_sees_the_parameters_of_a_running_trial(
    storage: OptunaStorage, tmp_path: Path
) -> None:
    other = OptunaStorage(URL, base=tmp_path)
    study = optuna.create_study(storage=storage, study_name="s")
    trial = study.ask()
    for x in (0.25, 0.5):
        trial.suggest_float(f"x{x}", x, x)
        trial.report(x, step=int(x * 4))
        (seen,) = other.get_all_trials(study._study_id)
        assert (seen.state, seen.params[f"x{x}"]) == (TrialState.RUNNING, x)
        assert seen.intermediate_values[int(x * 4)] == x
    other.close()


def test_storages_that_change_one_trial_keep_both_changes(storage: OptunaStorage, tmp_path: Path) -> None:
    other = OptunaStorage(URL, base=tmp_path)
    trial_id = storage.create_new_trial(storage.create_new_study([StudyDirection.MINIMIZE]))
    for place in (storage, other, storage, other):
        number = len(place.get_trial(trial_id).params)
        place.set_trial_param(trial_id, f"x{number}", 0.5, FloatDistribution(0, 1))
        place.set_trial_user_attr(trial_id, f"a{number}", number)
    storage.set_trial_param(trial_id, "x3", 0.25, FloatDistribution(0, 2))
    assert other.get_trial(trial_id).params == {"x0": 0.5, "x1": 0.5, "x2": 0.5, "x3": 0.25}
    assert other.get_trial(trial_id) == storage.get_trial(trial_id)
    other.close()


def test_a_distribution_of_another_kind_is_refused_whoever_came_first(
    storage: OptunaStorage, tmp_path: Path
) -> None:
    other = OptunaStorage(URL, base=tmp_path)
    study_id = storage.create_new_study([StudyDirection.MINIMIZE])
    first, second = storage.create_new_trial(study_id), other.create_new_trial(study_id)
    storage.set_trial_param(first, "x", 0.5, FloatDistribution(0, 1))
    with pytest.raises(ValueError, match="different distribution kind"):
        other.set_trial_param(second, "x", 1, IntDistribution(0, 1))
    other.set_trial_param(second, "x", 1.5, FloatDistribution(0, 2))
    assert [t.params["x"] for t in storage.get_all_trials(study_id)] == [0.5, 1.5]
    other.close()


def test_a_waiting_trial_is_popped_once(storage: OptunaStorage, tmp_path: Path) -> None:
    other = OptunaStorage(URL, base=tmp_path)
    study = optuna.create_study(storage=storage, study_name="s")
    study.enqueue_trial({"x": 0.5})
    (waiting,) = storage.get_all_trials(study._study_id, states=(TrialState.WAITING,))
    assert other.get_trial(waiting._trial_id).state == TrialState.WAITING
    assert storage.set_trial_state_values(waiting._trial_id, TrialState.RUNNING)
    assert not other.set_trial_state_values(waiting._trial_id, TrialState.RUNNING)
    assert other.get_all_trials(study._study_id, states=(TrialState.WAITING,)) == []
    other.close()


def test_processes_and_threads_share_a_study(storage: OptunaStorage, tmp_path: Path) -> None:
    study = optuna.create_study(storage=storage, study_name="s")
    url = f"sqlite:///{tmp_path / 'study.db'}"
    workers = [subprocess.Popen([sys.executable, "-c", CODE, url]) for _ in range(2)]
    threads = [
        threading.Thread(
            target=lambda: study.optimize(lambda t: t.suggest_float("x", -1, 1) ** 2, n_trials=10)
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    trials = study.trials
    assert [trial.number for trial in trials] == list(range(60))
    assert all(trial.state == TrialState.COMPLETE for trial in trials)


def our_study(store: Store, trials: int) -> None:
    """A study as the run loop leaves it: complete, pruned, dropped and failed trials."""
    contents = {name: distribution_to_json(kind) for name, kind in DISTRIBUTIONS.items()}
    space = SpaceRecord("h", "s", {})
    record = StudyRecord("ours", ("maximize", "minimize"), ("accuracy", "latency"), space, contents)
    study_id = store.create_study(record)
    rng = np.random.default_rng(0)
    for number in range(trials):
        params = {
            "depth": int(rng.integers(1, 5)),
            "width": [8, 16, None][number % 3],
            "rate": float(rng.uniform(1e-4, 1e-1)),
        }
        with store.asking(study_id, worker_name(), lease_seconds=60) as turn:
            ticket = turn.create(Proposal(params, {"n": number}, f"k{number}", user_attrs={"arch": number}))
        state = ("complete", "complete", "complete", "pruned", "dropped", "failed")[number % 6]
        values = (float(rng.random()), float(rng.random())) if state == "complete" else None
        outcome = Outcome(state, values, constraints={"params": number - 20.0}, intermediate={1: 0.5})
        assert store.tell(study_id, ticket, outcome)
    store.enqueue(study_id, Proposal({"depth": 1, "width": 8, "rate": 0.01}, {"n": -1}, "last"))


def test_optuna_reads_our_studies(store: Store, storage: OptunaStorage) -> None:
    our_study(store, 30)
    study = optuna.load_study(study_name="ours", storage=storage)
    assert METRIC_NAMES == _SYSTEM_ATTR_METRIC_NAMES
    assert study.metric_names == ["accuracy", "latency"]
    assert study.directions == [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]
    trials = study.trials
    states = ["COMPLETE"] * 3 + ["PRUNED"] * 2 + ["FAIL"]
    assert [trial.state.name for trial in trials] == states * 5 + ["WAITING"]
    assert trials[0].distributions == DISTRIBUTIONS
    assert trials[2].params["width"] is None
    assert trials[5].constraints == {"params": -15.0}
    assert trials[5].user_attrs == {"arch": 5}
    assert trials[5].intermediate_values == {1: 0.5}
    values = np.array([t.values for t in trials if t.state == TrialState.COMPLETE and t.number <= 20])
    best = {
        tuple(v) for v in values if not any(w[0] >= v[0] and w[1] <= v[1] and (w != v).any() for w in values)
    }
    assert {tuple(trial.values) for trial in study.best_trials} == best
    assert len(study.trials_dataframe()) == 31


def test_optuna_runs_no_trial_of_a_study_of_architectures_and_changes_nothing(
    store: Store, storage: OptunaStorage
) -> None:
    our_study(store, 24)
    study = optuna.load_study(study_name="ours", storage=storage)
    before = store.trials(study._study_id)
    line = r"study 'ours' searches architectures: .* use `nasplat run --enqueue`"
    with pytest.raises(StoreError, match=line):
        study.ask()  # of the trial that waits
    with pytest.raises(StoreError, match=line):
        study.enqueue_trial({"depth": 2})
    with pytest.raises(StoreError, match=line):
        study.add_trial(optuna.create_trial(state=TrialState.FAIL))
    assert store.trials(study._study_id) == before
    assert len(study.trials) == 25


def test_optuna_samplers_go_on_in_a_copy_of_our_study(store: Store, storage: OptunaStorage) -> None:
    our_study(store, 24)
    copies = optuna.storages.InMemoryStorage()
    optuna.copy_study(from_study_name="ours", from_storage=storage, to_storage=copies)
    for sampler in (optuna.samplers.TPESampler(seed=0), optuna.samplers.NSGAIISampler(seed=0)):
        study = optuna.load_study(study_name="ours", storage=copies, sampler=sampler)
        assert study.ask(DISTRIBUTIONS).params.keys() == DISTRIBUTIONS.keys()


def test_optuna_sees_a_dropped_trial_wait_again(store: Store, storage: OptunaStorage) -> None:
    our_study(store, 6)
    trial = optuna.load_study(study_name="ours", storage=storage).trials[4]
    assert trial.state == TrialState.PRUNED
    assert store.enqueue(1, Proposal(trial.params, {"n": 4}, "k4", user_attrs={"enqueued": True})) == 4
    again = storage.get_trial(trial._trial_id)
    assert again.state == TrialState.WAITING
    assert again.user_attrs == {"arch": 4, "enqueued": True}


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize(
    "plot", ["plot_pareto_front", "plot_slice", "plot_optimization_history", "plot_timeline"]
)
def test_optuna_draws_our_studies(store: Store, storage: OptunaStorage, plot: str) -> None:
    mpl.use("Agg")
    our_study(store, 24)
    study = optuna.load_study(study_name="ours", storage=storage)
    target = {"target": lambda trial: trial.values[0], "target_name": "accuracy"}
    targets = target if plot in ("plot_slice", "plot_optimization_history") else {}
    assert getattr(optuna.visualization.matplotlib, plot)(study, **targets) is not None
    mpl.pyplot.close("all")
