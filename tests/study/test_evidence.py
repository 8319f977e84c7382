"""A trial keeps the numbers that it was judged by, whatever other studies measure later."""

from __future__ import annotations

from dataclasses import replace

from nasplat.store import EvaluationRecord
from nasplat.study.evidence import evidence

NOISY = EvaluationRecord("latency", 1.5, "ms", {"machine": {"name": "a"}}, spread=0.4, n=20, noisy=True)


def test_a_noisy_latency_that_was_measured_again_still_belongs_to_the_trial_it_judged() -> None:
    again = replace(NOISY, value=1.2, spread=0.05, noisy=False)
    stored = [replace(NOISY, current=False), again]
    assert evidence(stored, {"latency"}, {"latency": 1.5}) == [stored[0]]
    assert evidence(stored, {"latency"}, {"latency": 1.2}) == [again]


def test_what_is_no_objective_is_told_by_its_current_value() -> None:
    size = EvaluationRecord("params", 100.0, "1", {})
    assert evidence([size, replace(size, value=90.0, current=False)], {"params"}, {}) == [size]


def test_what_the_study_did_not_ask_for_is_of_another_study() -> None:
    assert evidence([NOISY], {"params"}, {}) == []
