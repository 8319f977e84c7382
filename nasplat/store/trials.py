"""Trials: statements about their rows, and rows turned into records."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

from sqlalchemy import bindparam, insert, select, update

from nasplat.store.database import Link, Row, Statement
from nasplat.store.records import TrialRecord
from nasplat.store.tables import Architecture, IntermediateValue, Trial, table

_TRIAL, _ARCH, _STEP = table(Trial), table(Architecture), table(IntermediateValue)
FIELDS = (
    "study_id",
    "number",
    "state",
    "arch_id",
    "params",
    "distributions",
    "objective_values",
    "constraints",
    "system_attrs",
    "user_attrs",
    "steps",
    "error",
    "attempt",
    "worker",
    "lease_expires",
    "started",
    "finished",
    "revision",
)
EMPTY: dict[str, Any] = {
    "arch_id": None,
    "params": "{}",
    "distributions": "[]",
    "objective_values": None,
    "constraints": "{}",
    "system_attrs": "{}",
    "user_attrs": "{}",
    "steps": 0,
    "error": None,
    "attempt": 0,
    "worker": None,
    "lease_expires": None,
    "started": None,
    "finished": None,
}
add_trial = Statement(
    insert(_TRIAL).values({name: bindparam(name) for name in FIELDS}).returning(_TRIAL.c.id)
)
number_of_arch = Statement(
    select(_TRIAL.c.number).where(_TRIAL.c.study_id == bindparam("at"), _TRIAL.c.arch_id == bindparam("arch"))
)
_rows = select(
    _TRIAL.c.id,
    _TRIAL.c.number,
    _TRIAL.c.state,
    _ARCH.c.key,
    _ARCH.c.choices,
    *(_TRIAL.c[name] for name in FIELDS if name not in ("study_id", "number", "state", "arch_id")),
).select_from(_TRIAL.outerjoin(_ARCH))
_new = Statement(  # ordered by its index: an order by number might tempt a planner to read the whole study
    _rows.where(_TRIAL.c.study_id == bindparam("at"), _TRIAL.c.revision > bindparam("since")).order_by(
        _TRIAL.c.revision
    )
)
_first_waiting = Statement(
    _rows.where(_TRIAL.c.study_id == bindparam("at"), _TRIAL.c.state == "waiting")
    .order_by(_TRIAL.c.number)
    .limit(1)
)
_add_step = Statement(insert(_STEP).values({name: bindparam(name) for name in ("trial_id", "step", "value")}))
_change_step = Statement(
    update(_STEP)
    .where(_STEP.c.trial_id == bindparam("of"), _STEP.c.step == bindparam("at"))
    .values(value=bindparam("value"))
)
_new_steps = Statement(
    select(_STEP.c.trial_id, _STEP.c.step, _STEP.c.value)
    .select_from(_STEP.join(_TRIAL))
    .where(_TRIAL.c.study_id == bindparam("at"), _TRIAL.c.revision > bindparam("since"))
    .order_by(_TRIAL.c.revision, _STEP.c.trial_id, _STEP.c.step)
)
_steps_of = Statement(
    select(_STEP.c.trial_id, _STEP.c.step, _STEP.c.value)
    .where(_STEP.c.trial_id == bindparam("of"))
    .order_by(_STEP.c.step)
)
_NAN = float("nan")
_NUMBER_AT = 1
_STEPS_AT = 11  # where a row says whether it has intermediate values


def read_rows(link: Link, study_id: int, since: int) -> tuple[list[Row], dict[int, dict[int, float]]]:
    """Rows of the trials that changed after a revision, by number, and the intermediate values by trial id."""
    rows = sorted(link.rows(_new, at=study_id, since=since), key=itemgetter(_NUMBER_AT))
    if not any(row[_STEPS_AT] for row in rows):
        return rows, {}
    return rows, _by_trial(link.rows(_new_steps, at=study_id, since=since))


def read_trials(link: Link, study_id: int, since: int) -> list[TrialRecord]:
    """The trials that changed after a revision, by number."""
    rows, steps = read_rows(link, study_id, since)
    return [record(row, steps.get(row[0], {})) for row in rows]


def first_waiting(link: Link, study_id: int) -> TrialRecord | None:
    """The waiting trial with the lowest number."""
    row = link.row(_first_waiting, at=study_id)
    if row is None:
        return None
    steps = _by_trial(link.rows(_steps_of, of=row[0])) if row[_STEPS_AT] else {}
    return record(row, steps.get(row[0], {}))


def put_step(link: Link, trial_id: int, step: int, value: float) -> None:
    """Set one intermediate value of a trial."""
    stored = None if value != value else value  # NaN
    if not link.change(_change_step, of=trial_id, at=step, value=stored):
        link.change(_add_step, trial_id=trial_id, step=step, value=stored)


def _by_trial(rows: Iterable[Row]) -> dict[int, dict[int, float]]:
    steps: dict[int, dict[int, float]] = {}
    for trial_id, step, value in rows:
        steps.setdefault(trial_id, {})[step] = _NAN if value is None else value
    return steps


def read_json(content: str) -> dict[str, Any]:
    """A JSON object; most are empty."""
    return {} if content == "{}" else json.loads(content)


def record(row: Sequence[Any], intermediate: dict[int, float]) -> TrialRecord:
    """A record from a row of `read_rows`."""
    (_, number, state, key, choices, params, _, values, constraints, system, user) = row[:11]
    error, attempt, worker, _, started, finished, revision = row[12:]
    return TrialRecord(
        number=number,
        state=state,
        arch_key=key,
        arch=None if choices is None else json.loads(choices),
        params=read_json(params),
        values=None if values is None else json.loads(values),
        constraints=read_json(constraints),
        intermediate=intermediate,
        system_attrs=read_json(system),
        user_attrs=read_json(user),
        error=error,
        attempt=attempt,
        worker=worker,
        started=_time(started),
        finished=_time(finished),
        revision=revision,
    )


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
