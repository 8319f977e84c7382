"""How a trial leaves the hands of a worker: told, renewed, given back, or taken from a dead one; and how it returns."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Update, bindparam, select, update

from nasplat.errors import StoreError
from nasplat.store.attributes import write_attributes
from nasplat.store.database import Link, Statement
from nasplat.store.evaluations import OriginCache, put_evaluation
from nasplat.store.leases import is_alive
from nasplat.store.records import Outcome, Ticket
from nasplat.store.studies import Step, advance
from nasplat.store.tables import FINISHED, Trial, table
from nasplat.store.trials import put_step, read_json

_TRIAL = table(Trial)
_held = Statement(
    select(_TRIAL.c.id, _TRIAL.c.arch_id, _TRIAL.c.system_attrs, _TRIAL.c.user_attrs, _TRIAL.c.steps).where(
        _TRIAL.c.study_id == bindparam("at"),
        _TRIAL.c.number == bindparam("no"),
        _TRIAL.c.attempt == bindparam("fence"),
        _TRIAL.c.state == "running",
    )
)
_TOLD = (
    "state",
    "objective_values",
    "constraints",
    "system_attrs",
    "user_attrs",
    "steps",
    "error",
    "finished",
    "revision",
)
_finish = Statement(
    update(_TRIAL)
    .where(_TRIAL.c.id == bindparam("at"))
    .values({name: bindparam(name) for name in _TOLD} | {"worker": None, "lease_expires": None})
)


def _held_by_ticket(change: Update) -> Statement:
    return Statement(
        change.where(
            _TRIAL.c.study_id == bindparam("at"),
            _TRIAL.c.number == bindparam("no"),
            _TRIAL.c.attempt == bindparam("fence"),
            _TRIAL.c.state == "running",
        )
    )


_renew = _held_by_ticket(update(_TRIAL).values(lease_expires=bindparam("until")))
_give_back = _held_by_ticket(
    update(_TRIAL).values(state="waiting", worker=None, lease_expires=None, revision=bindparam("revision"))
)
_running = Statement(
    select(_TRIAL.c.number, _TRIAL.c.attempt, _TRIAL.c.worker, _TRIAL.c.lease_expires)
    .where(_TRIAL.c.study_id == bindparam("at"), _TRIAL.c.state == "running", _TRIAL.c.worker.is_not(None))
    .order_by(_TRIAL.c.number)
)
_dropped = Statement(
    select(_TRIAL.c.id, _TRIAL.c.user_attrs).where(
        _TRIAL.c.study_id == bindparam("at"),
        _TRIAL.c.number == bindparam("no"),
        _TRIAL.c.state == "dropped",
    )
)
_take_up = Statement(
    update(_TRIAL)
    .where(_TRIAL.c.id == bindparam("at"))
    .values(
        state="waiting",
        objective_values=None,
        constraints="{}",
        user_attrs=bindparam("user_attrs"),
        error=None,
        finished=None,
        revision=bindparam("revision"),
    )
)


def tell(link: Link, study_id: int, ticket: Ticket, outcome: Outcome, origins: OriginCache) -> bool:
    """Finish a trial with everything that it found; False, and nothing stored, if it was handed on.

    Raises:
        StoreError: an outcome that this study cannot have.
    """
    step = advance(link, study_id)
    _check(outcome, step)
    row = link.row(_held, at=study_id, no=ticket.number, fence=ticket.fence)
    if row is None:
        return False
    trial_id, arch_id, system, user, steps = row
    if outcome.evaluations and arch_id is None:
        raise StoreError(f"trial {ticket.number} has no architecture that evaluations could belong to")
    link.change(
        _finish,
        at=trial_id,
        state=outcome.state,
        objective_values=None if outcome.values is None else json.dumps([float(v) for v in outcome.values]),
        constraints=json.dumps(dict(outcome.constraints)),
        system_attrs=_merged(system, outcome.system_attrs),
        user_attrs=_merged(user, outcome.user_attrs),
        steps=int(bool(steps or outcome.intermediate)),
        error=outcome.error,
        finished=time.time(),
        revision=step.revision,
    )
    for at, value in outcome.intermediate.items():
        put_step(link, trial_id, at, float(value))
    for evaluation in outcome.evaluations:
        put_evaluation(link, arch_id, origins.id(link, evaluation.origin), evaluation)
    write_attributes(link, study_id, "system", outcome.study_attrs, step.revision)
    return True


def _check(outcome: Outcome, step: Step) -> None:
    if outcome.state not in FINISHED:
        raise StoreError(f"a trial cannot end as {outcome.state!r}; choose one of {', '.join(FINISHED)}")
    values = outcome.values
    if values is None:
        if outcome.state == "complete":
            raise StoreError("a complete trial needs a value for each objective; tell `failed` otherwise")
        return
    wanted = len(json.loads(step.directions))
    if outcome.state == "complete" and len(values) != wanted:
        raise StoreError(f"{len(values)} values came for {wanted} objectives; give one for each")
    if any(value != value for value in values):
        raise StoreError("an objective is NaN; tell `failed` with the reason instead")


def _merged(content: str, more: Mapping[str, Any]) -> str:
    return json.dumps(read_json(content) | dict(more)) if more else content


def renew(link: Link, study_id: int, ticket: Ticket, lease_seconds: float) -> bool:
    """Hold a trial for longer; False if it was handed on."""
    until = time.time() + lease_seconds
    return bool(link.change(_renew, at=study_id, no=ticket.number, fence=ticket.fence, until=until))


def release(link: Link, study_id: int, ticket: Ticket) -> bool:
    """Give a running trial back: it waits, under its number, for the next worker."""
    revision = advance(link, study_id).revision
    changed = link.change(_give_back, at=study_id, no=ticket.number, fence=ticket.fence, revision=revision)
    return bool(changed)


def take_up(link: Link, study_id: int, number: int, attrs: Mapping[str, Any], revision: int) -> bool:
    """Let a dropped trial wait for a worker after all, with further user attributes; False for any other state."""
    row = link.row(_dropped, at=study_id, no=number)
    if row is None:
        return False
    return bool(link.change(_take_up, at=row[0], user_attrs=_merged(row[1], attrs), revision=revision))


def lost(link: Link, study_id: int) -> list[Ticket]:
    """Running trials whose worker is dead or whose lease has run out."""
    now = time.time()
    return [
        Ticket(number, attempt)
        for number, attempt, worker, expires in link.rows(_running, at=study_id)
        if not is_alive(worker, expires, now)
    ]


def reap(link: Link, study_id: int) -> list[int]:
    """Give back what dead workers hold; the numbers of these trials."""
    return [ticket.number for ticket in lost(link, study_id) if release(link, study_id, ticket)]
