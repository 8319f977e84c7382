"""How a run ends, and what it leaves."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import optuna
import pytest

from nasplat import NasplatError, OptunaStorage, Study
from nasplat.study import run

WriteStudy = Callable[..., Study]
TWO = '[[objective]]\nmetric = "toy.py:cost"\ndirection = "minimize"\n'


class Notes:
    """A watcher that writes down what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    def training(self, done: int, total: int, figures: Mapping[str, float]) -> None:
        self.lines.append(f"training {done}/{total}")

    def trial(self, done: int, total: int, line: str) -> None:
        self.lines.append(f"{done}/{total} {line}")


def test_run_goes_on_to_its_number_of_trials_and_then_does_nothing(write_study: WriteStudy) -> None:
    study = write_study()
    first = study.run()
    assert (first.ended, first.new, first.states) == ("all 12 trials are done", 12, {"complete": 12})
    again = study.run()
    assert (again.ended, again.new) == ("all 12 trials are done", 0)


def test_watcher_hears_of_every_trial(write_study: WriteStudy) -> None:
    notes = Notes()
    study = write_study(TWO)
    study.run(3, watcher=notes)
    values = study.frame[["toy.py:gain", "toy.py:cost"]].to_numpy()
    assert notes.lines == [
        f"{n + 1}/3 trial {n}: toy.py:gain {gain:.4g}  toy.py:cost {cost:.4g}"
        for n, (gain, cost) in enumerate(values)
    ]


def test_time_limit_ends_the_run_and_says_so(write_study: WriteStudy) -> None:
    study = write_study()
    summary = study.run(timeout=1e-9)
    assert (summary.ended, summary.new) == ("the time is up after 1e-09 s", 0)
    assert write_study(study="trials = 12\ntimeout = '1s'").run().new == 12


def test_target_ends_the_run_as_soon_as_it_is_reached(write_study: WriteStudy) -> None:
    page = "trials = 100\ntarget = {'toy.py:gain' = 20}"
    study = write_study(study=page)
    summary = study.run()
    gains = study.frame["toy.py:gain"].tolist()
    assert summary.ended == "the target is reached: {'toy.py:gain': 20.0}"
    assert gains[-1] >= 20 > max(gains[:-1])
    assert study.run().new == 0


def test_target_in_two_metrics_must_be_reached_by_one_architecture(write_study: WriteStudy) -> None:
    study = write_study(TWO, study="trials = 216\ntarget = {'toy.py:gain' = 20, 'toy.py:cost' = 22}")
    study.run()
    last = study.frame.iloc[-1]
    assert last["toy.py:gain"] >= 20
    assert last["toy.py:cost"] <= 22
    assert ((study.frame["toy.py:gain"] >= 20) & (study.frame["toy.py:cost"] <= 22)).sum() == 1


@pytest.mark.parametrize("sampler", ["random", "tpe", "nsga2", "regularized_evolution"])
def test_exhausted_space_is_a_done_study_that_says_so(write_study: WriteStudy, sampler: str) -> None:
    small = {"space": 'name = "toy.py:SPACE"\nvalues = 2', "sampler": f'name = "{sampler}"'}
    study = write_study(study="trials = 100", **small)
    summary = study.run()
    assert summary.states == {"complete": 2 * 2 * (2 + 4)}
    assert summary.ended.startswith("the space is exhausted: all 24 architectures")
    assert study.frame["arch_key"].is_unique
    assert study.run().ended == summary.ended


def test_architecture_that_fails_to_build_is_a_failed_trial_and_the_search_goes_on(
    write_study: WriteStudy,
) -> None:
    study = write_study(space='name = "toy.py:FRAGILE"', objective='metric = "params"')
    summary = study.run(12)
    frame = study.frame
    failed = frame[frame["state"] == "failed"]
    assert summary.failed == len(failed) > 0
    assert summary.states["complete"] + len(failed) == 12
    assert set(failed["reason"]) == {"RuntimeError: round networks do not exist"}
    trial = study[int(failed["number"].iloc[0])]
    assert trial.arch["kind"] == "round"
    assert "Traceback" in str(trial)
    assert "toy.py" in str(trial)


def test_metric_that_raises_or_is_nan_fails_its_trial_alone(write_study: WriteStudy) -> None:
    study = write_study(objective='metric = "toy.py:broken"\ndirection = "maximize"')
    study.run(30)
    for _, row in study.frame.iterrows():
        a = study[int(row["number"])].arch["a"]
        expected = {3: "ZeroDivisionError: three is not a number here", 4: "toy.py:broken: the value is nan"}
        assert row["reason"] == expected.get(a, "")
        assert row["state"] == ("failed" if a in expected else "complete")
    assert {3, 4} <= {study[n].arch["a"] for n in range(30)}


def test_pruner_stops_trials_and_intermediate_values_are_stored(write_study: WriteStudy) -> None:
    curve = 'metric = "toy.py:curve"\ndirection = "maximize"'
    study = write_study('[pruner]\nname = "median"', objective=curve)
    summary = study.run(20)
    assert summary.states["pruned"] > 0
    trials = study.store.trials(study.record.id)
    steps = {t.state: [len(s.intermediate) for s in trials if s.state == t.state] for t in trials}
    assert set(steps["complete"]) == {4}
    assert max(steps["pruned"]) < 4
    reference = optuna.create_study(
        direction="maximize", pruner=optuna.pruners.MedianPruner(), sampler=optuna.samplers.RandomSampler()
    )
    for trial in trials:  # Optuna itself prunes the same trials
        asked = reference.ask()
        pruned = False
        for step, value in trial.intermediate.items():
            asked.report(value, step)
            pruned = pruned or asked.should_prune()
        reference.tell(
            asked,
            None if trial.state == "pruned" else trial.values,
            state=getattr(optuna.trial.TrialState, trial.state.upper()),
        )
        assert pruned == (trial.state == "pruned")


def test_broken_bound_drops_an_architecture_before_costly_metrics_are_asked(write_study: WriteStudy) -> None:
    counted = 'metric = "toy.py:counted"\ndirection = "maximize"'
    study = write_study('[[constraint]]\nmetric = "params"\nmax = 1200', objective=counted)
    study.run(10)
    frame = study.frame
    dropped = frame[frame["state"] == "dropped"]
    assert len(dropped) > 0
    assert (dropped["params"] > 1200).all()
    assert (frame.loc[frame["state"] == "complete", "params"] <= 1200).all()
    assert dropped["reason"].str.fullmatch(r"params = \d+ breaks params <= 1200").all()
    asked = {line.split()[0] for line in (study.folder / "calls.txt").read_text().splitlines()}
    assert asked == set(frame.loc[frame["state"] == "complete", "arch_key"])


def test_broken_bound_on_the_last_metric_is_a_complete_trial_that_is_not_on_the_front(
    write_study: WriteStudy,
) -> None:
    study = write_study('[[constraint]]\nmetric = "toy.py:gain"\nmax = 10')
    study.run(20)
    frame = study.frame
    assert set(frame["state"]) == {"complete"}
    assert frame["feasible"].tolist() == (frame["toy.py:gain"] <= 10).tolist()
    assert not frame["feasible"].all()
    assert study.front()["toy.py:gain"].tolist() == [frame.loc[frame["feasible"], "toy.py:gain"].max()]
    loaded = optuna.load_study(study_name="toy", storage=OptunaStorage(study.store.url))
    for trial, gain in zip(loaded.trials, frame["toy.py:gain"], strict=True):
        assert trial.constraints == {"toy.py:gain <= 10": pytest.approx((gain - 10) / 10)}


def test_bound_that_no_size_can_keep_is_refused_before_anything_is_written(write_study: WriteStudy) -> None:
    study = write_study('[[constraint]]\nmetric = "params"\nmax = 10', space='name = "toy.py:ORDERED"')
    line = r"constraint params <= 10 cannot be met: .* have 674 to 1,794; change the bound or the space"
    with pytest.raises(NasplatError, match=line):
        study.run()
    assert not (study.folder / "study.db").exists()


def test_bound_that_nothing_keeps_ends_the_study_with_its_name_and_the_nearest_miss(
    write_study: WriteStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "MOST_DROPPED_IN_A_ROW", 30)
    slow = 'metric = "toy.py:slow"\ndirection = "minimize"'
    study = write_study('[[constraint]]\nmetric = "toy.py:cost"\nmax = 1', objective=slow)
    with pytest.raises(NasplatError) as told:
        study.run()
    assert str(told.value) == (
        "30 architectures in a row were dropped: 30 by toy.py:cost <= 1 (the nearest is 100.0% off); "
        "loosen it, or change the space"
    )
    assert set(study.frame["state"]) == {"dropped"}


def test_search_that_finds_nothing_new_within_its_bounds_ends_and_says_why(
    write_study: WriteStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "MOST_DROPPED_IN_A_ROW", 25)
    slow = 'metric = "toy.py:slow"\ndirection = "minimize"'
    study = write_study(
        '[[constraint]]\nmetric = "toy.py:cost"\nmax = 2', objective=slow, study="trials = 50"
    )
    summary = study.run()
    assert 0 < summary.states["complete"] < 50
    assert summary.ended.startswith("25 architectures in a row were dropped: 25 by toy.py:cost <= 2")


def test_space_that_is_exhausted_without_a_complete_trial_says_so(write_study: WriteStudy) -> None:
    slow = 'metric = "toy.py:slow"\ndirection = "minimize"'
    study = write_study('[[constraint]]\nmetric = "toy.py:cost"\nmax = 1', objective=slow)
    assert study.run().ended.endswith(
        "216 architectures of 'toy' were proposed, none is complete; see nasplat status"
    )


def test_run_leaves_the_log_level_of_optuna_alone(write_study: WriteStudy) -> None:
    before = logging.getLogger("optuna").level
    write_study().run(2)
    assert logging.getLogger("optuna").level == before
