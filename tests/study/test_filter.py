"""The cheap stage: scores drop architectures before anything costly is asked."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pytest

from nasplat import OptunaStorage, Study
from nasplat.metric import Cost, Measurement, Metric
from nasplat.study.plan import ScoreFilter

WriteStudy = Callable[..., Study]
Told = Callable[[Study], list[tuple[Any, ...]]]
DATA = '[data]\nname = "toy.py:parity"\n'
FILTER = DATA + '[filter]\nscores = ["synflow", "nwot"]\nkeep = 0.5'


def score(name: str, direction: str) -> Metric:
    return Metric(name, "1", direction, Cost.SCORE, {}, lambda candidate: Measurement(0.0))


def log_rank(name: str, sign: float, pool: list[dict[str, float]], mine: dict[str, float]) -> float:
    """log of rank / n: those that are worse, half of those that are equal, and a half for itself."""
    worse = sum(sign * other[name] < sign * mine[name] for other in pool)
    equal = sum(other[name] == mine[name] for other in pool)
    return math.log((worse + (equal + 1) / 2) / len(pool))


def test_ranks_equal_the_formula_of_az_nas_counted_by_hand() -> None:
    rng = np.random.default_rng(0)
    pool = [{"up": float(rng.integers(9)), "down": float(rng.integers(9))} for _ in range(30)]
    filter_ = ScoreFilter([score("up", "maximize"), score("down", "minimize")], keep=0.3)
    by_hand = [log_rank("up", 1, pool, p) + log_rank("down", -1, pool, p) for p in pool]
    np.testing.assert_allclose(filter_.log_ranks(pool), by_hand)
    better = sum(total > by_hand[-1] for total in by_hand)
    assert filter_.passes(pool[-1], pool[:-1]) == (better / 30 < 0.3)


def test_filter_keeps_about_its_share_of_random_architectures() -> None:
    rng = np.random.default_rng(1)
    pool: list[dict[str, float]] = []
    filter_ = ScoreFilter([score("s", "maximize")], keep=0.25)
    passed = []
    for _ in range(400):
        drawn = {"s": float(rng.normal())}
        passed.append(filter_.passes(drawn, pool))
        pool.append(drawn)
    assert all(passed[:10])
    assert 0.2 < np.mean(passed[10:]) < 0.3


def test_dropped_architectures_are_stored_with_the_reason_and_do_not_count(write_study: WriteStudy) -> None:
    study = write_study(FILTER)
    summary = study.run(20)
    frame = study.frame
    assert summary.states["complete"] == 20
    dropped = frame[frame["state"] == "dropped"]
    assert 2 < len(dropped) < 40
    assert set(dropped["reason"]) == {"its scores are not among the best 50%"}
    assert dropped["toy.py:gain"].isna().all()
    assert frame[["score:synflow", "score:nwot"]].notna().all().all()
    loaded = optuna.load_study(study_name="toy", storage=OptunaStorage(study.store.url))
    pruned = [t.number for t in loaded.trials if t.state is optuna.trial.TrialState.PRUNED]
    assert pruned == dropped["number"].tolist()


@pytest.mark.parametrize("sampler", ["random", "regularized_evolution", "nsga2", "tpe"])
def test_filter_of_a_resumed_study_judges_as_if_it_had_never_stopped(
    write_study: WriteStudy, told: Told, sampler: str
) -> None:
    halves = write_study(FILTER, folder="halves", sampler=f'name = "{sampler}"')
    for trials in (9, 14, 20):
        halves.run(trials)
    whole = write_study(FILTER, folder="whole", sampler=f'name = "{sampler}"')
    whole.run(20)
    assert told(halves) == told(whole)
    assert sampler == "tpe" or "dropped" in {row[1] for row in told(whole)}  # tpe soon asks for the best only


def test_score_without_a_value_drops_the_architecture(write_study: WriteStudy) -> None:
    study = write_study(FILTER, space='name = "toy.py:NARROW"')
    (round_one,) = study.enqueue({"a": 1, "b": 1, "kind": "round"})
    assert study.run(8).states["complete"] == 8
    frame = study.frame.set_index("number")
    assert frame.loc[round_one, "state"] == "complete"  # it must be in, score or none
    without = frame[frame["score:nwot"].isna()].drop(index=round_one)
    assert set(without["state"]) == {"dropped"}
    assert set(without["reason"]) == {"score:nwot has no value for it"}


def test_enqueued_architecture_passes_the_filter_and_the_bounds(write_study: WriteStudy) -> None:
    rest = FILTER.replace("0.5", "0.01") + '\n[[constraint]]\nmetric = "toy.py:cost"\nmax = 30\n'
    study = write_study(rest)
    study.run(3)
    worst = {"a": 1, "b": 1, "kind": "round"}
    far = {"a": 6, "b": 6, "kind": "plain"}
    numbers = study.enqueue(worst, far)
    assert study.enqueue(far) == [None]
    study.run(5)
    states = study.frame.set_index("number")["state"]
    assert [states[number] for number in numbers] == ["complete", "complete"]
    assert study.frame.set_index("number").loc[numbers, "feasible"].tolist() == [True, False]


def test_dropped_architecture_that_is_enqueued_is_evaluated_under_its_number(write_study: WriteStudy) -> None:
    slow = 'metric = "toy.py:slow"\ndirection = "minimize"'
    study = write_study('[[constraint]]\nmetric = "toy.py:cost"\nmax = 20', objective=slow)
    study.run(8)
    frame = study.frame
    number = int(frame.loc[frame["state"] == "dropped", "number"].iloc[0])
    assert study.enqueue(study[number].arch) == [number]
    assert study.run(9).new == 1
    again = study.frame.set_index("number").loc[number]
    assert (again["state"], again["feasible"]) == ("complete", False)
    assert again["toy.py:slow"] == again["toy.py:cost"]
    assert len(study.frame) == len(frame)


def test_the_scores_of_a_trial_share_one_call(
    write_study: WriteStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def noted(model: Any, inputs: Any, targets: Any, names: Any, **rest: Any) -> Any:
        asked.append([entry.name for entry in names])
        return score_together(model, inputs, targets, names, **rest)

    from nasplat.scoring import score as score_together

    monkeypatch.setattr("nasplat.metric.candidate.score", noted)
    study = write_study(FILTER, study="trials = 3")
    study.run()
    assert asked == [["synflow", "nwot"]] * len(study.frame)
