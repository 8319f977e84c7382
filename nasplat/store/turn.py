"""One turn of a worker at the table of a study: it sees what is new and takes or makes one trial."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sqlalchemy import bindparam, select, update

from nasplat.errors import StoreError
from nasplat.files import canonical_json
from nasplat.store.attributes import AttributeCache, write_attributes
from nasplat.store.database import Link, Statement
from nasplat.store.evaluations import put_architecture
from nasplat.store.records import Proposal, Ticket, TrialRecord
from nasplat.store.studies import Step, count_trial, read_distributions
from nasplat.store.tables import Trial, table
from nasplat.store.trials import EMPTY, add_trial, first_waiting, number_of_arch, read_trials

_TRIAL = table(Trial)
_take = Statement(
    update(_TRIAL)
    .where(
        _TRIAL.c.study_id == bindparam("at"),
        _TRIAL.c.number == bindparam("no"),
        _TRIAL.c.state == "waiting",
    )
    .values(
        state="running",
        attempt=_TRIAL.c.attempt + 1,
        worker=bindparam("worker"),
        lease_expires=bindparam("lease_expires"),
        started=bindparam("started"),
        revision=bindparam("revision"),
    )
)
_attempt = Statement(
    select(_TRIAL.c.attempt).where(_TRIAL.c.study_id == bindparam("at"), _TRIAL.c.number == bindparam("no"))
)


class DistributionCache:
    """Which row holds the distribution of each parameter of a study. Committed rows only: see `clear`."""

    def __init__(self) -> None:
        self._known: dict[int, dict[str, int]] = {}

    def ids(self, link: Link, study_id: int, params: Mapping[str, Any]) -> str:
        """The distributions of parameters as a JSON list of ids.

        Raises:
            StoreError: a parameter has no distribution in this study.
        """
        known = self._known.get(study_id)
        if known is None or not params.keys() <= known.keys():
            known = {name: row_id for row_id, name, _ in read_distributions(link, study_id)}
            self._known[study_id] = known
        try:
            return json.dumps([known[name] for name in params])
        except KeyError as error:
            raise StoreError(
                f"parameter {error} has no distribution in this study; give one to create_study"
            ) from None

    def clear(self) -> None:
        """Forget everything, since a transaction that was rolled back may have been read."""
        self._known.clear()


@dataclass(frozen=True)
class Caches:
    """What one store has read of rows that never change, or only grow."""

    attributes: AttributeCache
    distributions: DistributionCache


@dataclass(frozen=True, slots=True)
class Seat:
    """Who asks, in which study, and for how long."""

    study_id: int
    worker: str
    lease_seconds: float


class Turn:
    """What a worker sees and does in its one transaction; `Store.asking` gives it."""

    def __init__(self, link: Link, seat: Seat, step: Step, caches: Caches) -> None:
        self._link = link
        self._seat = seat
        self._step = step
        self._caches = caches
        self.news: list[TrialRecord] = []
        self.number = step.trial_count

    def read_news(self, since: int) -> None:
        """Read the trials that changed after a revision."""
        self.news = read_trials(self._link, self._seat.study_id, since)

    @property
    def revision(self) -> int:
        """The study's revision after this turn: give it as `since` the next time."""
        return self._step.revision

    @cached_property
    def waiting(self) -> TrialRecord | None:
        """The waiting trial with the lowest number: enqueued, or interrupted and to be run again."""
        return first_waiting(self._link, self._seat.study_id)

    def claim(self, number: int) -> Ticket:
        """Take a waiting trial: from now on only this ticket finishes it.

        Raises:
            StoreError: the trial does not wait.
        """
        now = time.time()
        taken = self._link.change(
            _take,
            at=self._seat.study_id,
            no=number,
            worker=self._seat.worker,
            lease_expires=now + self._seat.lease_seconds,
            started=now,
            revision=self.revision,
        )
        if not taken:
            raise StoreError(f"trial {number} does not wait; claim the one that `waiting` gives")
        return Ticket(number, int(self._link.rows(_attempt, at=self._seat.study_id, no=number)[0][0]))

    def create(self, proposal: Proposal) -> Ticket:
        """Make a new running trial under this worker's lease.

        Raises:
            StoreError: its architecture is in the study already, or a parameter has no distribution.
        """
        now = time.time()
        number = insert_proposal(
            self._link,
            self._seat.study_id,
            self._step,
            proposal,
            {
                "distributions": self._caches.distributions.ids(
                    self._link, self._seat.study_id, proposal.params
                ),
                "state": "running",
                "attempt": 1,
                "worker": self._seat.worker,
                "lease_expires": now + self._seat.lease_seconds,
                "started": now,
            },
        )
        self.number = number + 1
        return Ticket(number, 1)

    @cached_property
    def _attrs(self) -> dict[str, Any]:
        return dict(self._caches.attributes.read(self._link, self._seat.study_id).system)

    @property
    def study_attrs(self) -> dict[str, Any]:
        """The study's system attributes, with those set in this turn."""
        return dict(self._attrs)

    def set_study_attrs(self, attrs: Mapping[str, Any]) -> None:
        """Set system attributes of the study."""
        self._attrs.update(attrs)
        write_attributes(self._link, self._seat.study_id, "system", attrs, self.revision)


def insert_proposal(
    link: Link, study_id: int, step: Step, proposal: Proposal, fields: Mapping[str, Any]
) -> int:
    """Insert a trial that stands for a proposal; its number.

    Raises:
        StoreError: its architecture is in the study already.
    """
    arch_id = arch_of(link, step, proposal)
    if arch_id is not None:
        taken = link.row(number_of_arch, at=study_id, arch=arch_id)
        if taken is not None:
            raise StoreError(f"architecture {proposal.arch_key} is trial {taken[0]} already; ask for another")
    number = count_trial(link, study_id)
    values = {
        **EMPTY,
        "study_id": study_id,
        "number": number,
        "arch_id": arch_id,
        "params": json.dumps(dict(proposal.params)),
        "system_attrs": json.dumps(dict(proposal.system_attrs)),
        "user_attrs": json.dumps(dict(proposal.user_attrs)),
        "revision": step.revision,
        **fields,
    }
    link.rows(add_trial, **values)
    return number


def arch_of(link: Link, step: Step, proposal: Proposal) -> int | None:
    """The id of a proposal's architecture, stored at the first time; None where it has none."""
    if proposal.arch is None or proposal.arch_key is None:
        return None
    if step.space_id is None:
        raise StoreError(
            f"architecture {canonical_json(dict(proposal.arch))} belongs to no space of this study"
        )
    return put_architecture(link, step.space_id, proposal.arch_key, proposal.arch)
