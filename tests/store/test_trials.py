"""Asking and telling: one transaction each, and nothing finished is lost or changed."""

from __future__ import annotations

import os
import re
import socket
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from nasplat.errors import StoreError
from nasplat.store import EvaluationRecord, Outcome, Proposal, Store, Ticket, TrialRecord, worker_name

DONE = Outcome("complete", (0.9, 2.0))


def proposal(depth: int) -> Proposal:
    return Proposal({"x": depth / 100}, {"depth": depth}, f"key-{depth}")


def ask(store: Store, study_id: int, depth: int, lease_seconds: float = 60, worker: str = "") -> Ticket:
    with store.asking(study_id, worker or worker_name(), lease_seconds=lease_seconds) as turn:
        return turn.create(proposal(depth))


def claim(store: Store, study_id: int, number: int) -> Ticket:
    with store.asking(study_id, worker_name(), lease_seconds=60) as turn:
        return turn.claim(number)


def states(store: Store, study_id: int) -> list[str]:
    return [trial.state for trial in store.trials(study_id)]


def test_a_told_trial_comes_back_with_all_that_was_told(store: Store, study_id: int) -> None:
    before = datetime.now(UTC)
    with store.asking(study_id, "far:1:a", lease_seconds=60) as turn:
        ticket = turn.create(
            Proposal({"x": 0.5}, {"depth": 2, "kind": None}, "k", {"generation": 3}, {"note": "first"})
        )
    number = EvaluationRecord("accuracy", 0.9, "1", {"data": "digits"}, per_module={"conv": 1.5})
    told = Outcome(
        "complete",
        (0.9, float("inf")),
        constraints={"params": -5.0},
        evaluations=(number,),
        intermediate={1: 0.5, 3: float("nan")},
        system_attrs={"rank": 1},
        user_attrs={"seconds": 2.5},
        study_attrs={"front": [0]},
    )
    assert store.tell(study_id, ticket, told)
    (trial,) = store.trials(study_id)
    assert (trial.number, trial.state, trial.attempt, trial.worker) == (0, "complete", 1, None)
    assert trial.params == {"x": 0.5}
    assert (trial.arch_key, trial.arch) == ("k", {"depth": 2, "kind": None})
    assert trial.values == [0.9, float("inf")]
    assert trial.constraints == {"params": -5.0}
    assert trial.intermediate[1] == 0.5
    assert trial.intermediate[3] != trial.intermediate[3]
    assert trial.system_attrs == {"generation": 3, "rank": 1}
    assert trial.user_attrs == {"note": "first", "seconds": 2.5}
    assert trial.started is not None
    assert trial.finished is not None
    assert before <= trial.started <= trial.finished <= datetime.now(UTC)
    assert store.study_attrs(study_id)["front"] == [0]
    assert [(e.arch_key, e.per_module) for e in store.evaluations("hash-of-space")] == [("k", {"conv": 1.5})]


def test_a_turn_shows_only_what_changed_since_the_last_one(store: Store, study_id: int) -> None:
    first, second = ask(store, study_id, 1), ask(store, study_id, 2)
    with store.asking(study_id, "far:1:a", lease_seconds=60) as turn:
        assert [trial.number for trial in turn.news] == [0, 1]
        seen = turn.revision
    store.tell(study_id, second, DONE)
    with store.asking(study_id, "far:1:a", lease_seconds=60, since=seen) as turn:
        assert [(trial.number, trial.state) for trial in turn.news] == [(1, "complete")]
        assert turn.number == 2
    assert [trial.number for trial in store.trials(study_id, since=seen)] == [1]
    assert store.tell(study_id, first, DONE)


def test_a_turn_that_fails_leaves_nothing_behind(store: Store, study_id: int) -> None:
    def fail() -> None:
        with store.asking(study_id, worker_name(), lease_seconds=60) as turn:
            turn.create(proposal(1))
            turn.set_study_attrs({"population": [0]})
            assert turn.study_attrs["population"] == [0]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert store.trials(study_id) == []
    assert "population" not in store.study_attrs(study_id)
    assert ask(store, study_id, 1) == Ticket(0, 1)


def test_study_attributes_are_seen_in_later_turns(store: Store, study_id: int) -> None:
    for count in range(3):
        with store.asking(study_id, worker_name(), lease_seconds=60) as turn:
            assert turn.study_attrs.get("count", 0) == count
            turn.set_study_attrs({"count": count + 1, f"generation:{count}": [count]})
    with Store.open(store.url) as other:
        attrs = other.study_attrs(study_id)
    assert attrs["count"] == 3
    assert attrs["generation:1"] == [1]


def test_released_trial_runs_again_under_its_number_and_refuses_its_first_worker(
    store: Store, study_id: int
) -> None:
    first = ask(store, study_id, 1)
    ask(store, study_id, 2)
    store.release(study_id, first)
    assert not store.tell(study_id, first, DONE)
    with store.asking(study_id, worker_name(), lease_seconds=60) as turn:
        assert turn.waiting is not None
        assert (turn.waiting.number, turn.waiting.arch) == (0, {"depth": 1})
        second = turn.claim(0)
    assert second == Ticket(0, 2)
    assert not store.tell(study_id, first, DONE)
    assert not store.renew(study_id, first, 60)
    store.release(study_id, first)
    assert states(store, study_id) == ["running", "running"]
    assert store.tell(study_id, second, DONE)


def test_expired_lease_is_reaped_unless_renewed(store: Store, study_id: int) -> None:
    renewed, expired = ask(store, study_id, 1, lease_seconds=-1), ask(store, study_id, 2, lease_seconds=-1)
    assert store.renew(study_id, renewed, 60)
    assert store.reap(study_id) == [1]
    assert store.reap(study_id) == []
    assert states(store, study_id) == ["running", "waiting"]
    assert not store.tell(study_id, expired, DONE)


def test_lease_of_a_dead_process_of_this_host_ends_at_once(store: Store, study_id: int) -> None:
    host, nobody = socket.gethostname(), 2**22 + 1  # above the largest process id of Linux
    ask(store, study_id, 1, worker=f"{host}:{nobody}:a")
    ask(store, study_id, 2, worker=f"{host}:{os.getpid()}:b")
    ask(store, study_id, 3, worker=f"elsewhere:{nobody}:c")
    assert store.reap(study_id) == [0]


def test_an_expired_trial_that_nobody_took_can_still_be_told(store: Store, study_id: int) -> None:
    late = ask(store, study_id, 1, lease_seconds=-1)
    assert store.tell(study_id, late, DONE)


@pytest.mark.parametrize("state", ["complete", "pruned", "failed"])
def test_a_finished_trial_never_changes(store: Store, study_id: int, state: str) -> None:
    ticket = ask(store, study_id, 1)
    values = (0.9, 2.0) if state == "complete" else None
    assert store.tell(study_id, ticket, Outcome(state, values, error="why"))
    before = store.trials(study_id)
    assert not store.tell(study_id, ticket, Outcome("failed"))
    assert not store.renew(study_id, ticket, 60)
    store.release(study_id, ticket)
    assert store.reap(study_id) == []
    assert store.enqueue(study_id, proposal(1)) is None
    with pytest.raises(StoreError, match="does not wait"):
        claim(store, study_id, 0)
    assert store.trials(study_id) == before


def test_a_dropped_architecture_that_is_enqueued_waits_again_under_its_number(
    store: Store, study_id: int
) -> None:
    first = ask(store, study_id, 1)
    outcome = Outcome("dropped", constraints={"params <= 1": 2.0}, user_attrs={"note": 1}, error="too large")
    assert store.tell(study_id, first, outcome)
    (dropped,) = store.trials(study_id)
    assert store.enqueue(study_id, replace(proposal(1), user_attrs={"enqueued": True})) == 0
    (again,) = store.trials(study_id, since=dropped.revision)
    assert (again.number, again.state, again.error, again.finished) == (0, "waiting", None, None)
    assert (again.constraints, again.user_attrs) == ({}, {"note": 1, "enqueued": True})
    assert store.enqueue(study_id, proposal(1)) is None
    assert not store.tell(study_id, first, DONE)
    second = claim(store, study_id, 0)
    assert second == Ticket(0, 2)
    assert store.tell(study_id, second, DONE)


def test_enqueued_trials_come_first_and_once(store: Store, study_id: int) -> None:
    ask(store, study_id, 1)
    assert store.enqueue(study_id, proposal(2)) == 1
    assert store.enqueue(study_id, proposal(3)) == 2
    assert store.enqueue(study_id, proposal(2)) is None
    assert store.enqueue(study_id, proposal(1)) is None
    assert claim(store, study_id, 1) == Ticket(1, 1)


def test_a_study_holds_an_architecture_once(store: Store, study_id: int) -> None:
    ask(store, study_id, 1)
    with pytest.raises(StoreError, match="key-1 is trial 0 already"):
        ask(store, study_id, 1)


def test_an_evaluation_inside_a_turn_is_part_of_it(store: Store, study_id: int) -> None:
    record = EvaluationRecord("params", 10.0, "1", {})

    def fail() -> None:
        with store.asking(study_id, worker_name(), lease_seconds=60):
            assert store.record("hash-of-space", {"depth": 1}, "key-1", record)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        fail()
    assert store.evaluations("hash-of-space") == []
    assert store.record("hash-of-space", {"depth": 1}, "key-1", record)
    assert [e.origin for e in store.evaluations("hash-of-space")] == [{}]


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        (Outcome("complete"), "needs a value for each objective"),
        (Outcome("complete", (1.0,)), "1 values came for 2 objectives"),
        (Outcome("complete", (1.0, float("nan"))), "NaN"),
        (Outcome("running"), "cannot end as 'running'"),
    ],
)
def test_an_outcome_that_makes_no_sense_is_refused(
    store: Store, study_id: int, outcome: Outcome, message: str
) -> None:
    ticket = ask(store, study_id, 1)
    with pytest.raises(StoreError, match=message):
        store.tell(study_id, ticket, outcome)
    assert states(store, study_id) == ["running"]


def test_a_parameter_without_distribution_is_refused(store: Store, study_id: int) -> None:
    with (
        pytest.raises(StoreError, match="'y' has no distribution"),
        store.asking(study_id, worker_name(), lease_seconds=60) as turn,
    ):
        turn.create(Proposal({"y": 1}))
    assert store.trials(study_id) == []


def test_a_trial_costs_the_same_number_of_rows_whatever_came_before(store: Store, study_id: int) -> None:
    """No statement of asking and telling reads a whole table."""
    from nasplat.store import evaluations, handover, trials, turn
    from nasplat.store.database import Statement

    link = store._database.link
    for module in (trials, turn, handover, evaluations):
        for name, statement in vars(module).items():
            if not isinstance(statement, Statement):
                continue
            sql, _ = statement.text(link.dialect)
            names = dict.fromkeys(re.findall(r":(\w+)", sql), 1)
            link._cursor.execute(f"EXPLAIN QUERY PLAN {sql}", names)
            plan = [row[3] for row in link._cursor.fetchall()]
            assert not any(line.startswith("SCAN") for line in plan), (name, plan)


def test_records_are_plain_data(store: Store, study_id: int) -> None:
    ask(store, study_id, 1)
    (trial,) = store.trials(study_id)
    assert isinstance(trial, TrialRecord)
    assert not hasattr(trial, "__dict__")
