"""One process's seat at a study: it asks for trials, keeps its lease alive and tells how they ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any

from nasplat.search import Mirror, freeze
from nasplat.space import Arch, Space
from nasplat.store import Outcome, Proposal, Store, Ticket, TrialRecord, Turn, worker_name

LEASE_SECONDS = 300.0
"""A worker that shows no sign of life for this long loses its trial to another; any progress is a sign."""


class LeaseLost(Exception):
    """This worker showed no sign of life for too long, and another one has its work by now."""


COUNTED = ("complete", "pruned", "failed")
"""The states that count as trials; a dropped architecture cost little and does not."""


@dataclass(frozen=True, slots=True)
class Job:
    """A trial in this worker's hands. `must` marks an enqueued architecture, which no bound or filter stops."""

    number: int
    arch: Arch
    ticket: Ticket
    must: bool = False
    intermediate: dict[int, float] = field(default_factory=dict)


class Worker:
    """Asks the mirror for architectures inside one store transaction, which also brings the others' news."""

    def __init__(self, store: Store, study_id: int, space: Space, mirror: Mirror) -> None:
        self.store, self.study_id = store, study_id
        self.space, self.mirror = space, mirror
        self.name = worker_name()
        self.trials: dict[int, TrialRecord] = {}
        self.counts: Counter[str] = Counter()
        self._distributions = space.distributions()
        self._revision = 0
        self._renewed = monotonic()

    @property
    def counted(self) -> int:
        """How many trials have ended that count."""
        return sum(self.counts[state] for state in COUNTED)

    def noted(self, name: str) -> list[Any]:
        """What all trials have under an attribute of this name, where they have it."""
        return [t.user_attrs[name] for t in self.trials.values() if name in t.user_attrs]

    def refresh(self) -> None:
        """Take in what has happened in the study so far."""
        news = self.store.trials(self.study_id, since=self._revision)
        self._take_in(news)
        self._revision = max((t.revision for t in news), default=self._revision)

    def ask(self, most: int) -> Job | None:
        """The next trial: one that waits, else a new one; None when `most` are counted or on their way.

        Raises SpaceExhausted when every architecture of the space has been asked for.
        """
        seat = self.store.asking(self.study_id, self.name, lease_seconds=LEASE_SECONDS, since=self._revision)
        with seat as turn:
            self._take_in(turn.news)
            self.mirror.set_study_attrs(turn.study_attrs)
            job = self._next(turn, most)
        self._revision = turn.revision  # only now: a turn that was taken back has no revision of its own
        self._renewed = monotonic()
        return job

    def _next(self, turn: Turn, most: int) -> Job | None:
        if turn.waiting is not None:
            return self._resumed(turn.waiting, turn.claim(turn.waiting.number))
        if self.counted + self.counts["running"] >= most:
            return None
        found = self.mirror.propose(turn.number)
        if found.study_attrs:
            turn.set_study_attrs(found.study_attrs)
        ticket = turn.create(
            Proposal(found.params, found.arch.to_json(), found.arch.key, system_attrs=found.system_attrs)
        )
        return Job(ticket.number, found.arch, ticket)

    def tell(self, job: Job, outcome: Outcome) -> bool:
        """Write down how a trial ended; False when its lease had passed to another worker meanwhile."""
        attrs = self.mirror.system_attrs(job.number)
        outcome = replace(outcome, intermediate=job.intermediate, system_attrs=attrs)
        return self.store.tell(self.study_id, job.ticket, outcome)

    def alive(self, job: Job) -> None:
        """Renew the lease of a trial, at most every tenth of its length. Raises LeaseLost when another has it."""
        if monotonic() - self._renewed > LEASE_SECONDS / 10:
            if not self.store.renew(self.study_id, job.ticket, LEASE_SECONDS):
                raise LeaseLost
            self._renewed = monotonic()

    def release(self, job: Job) -> None:
        """Give an interrupted trial back; whoever asks next continues it under its own number."""
        self.store.release(self.study_id, job.ticket)

    def _resumed(self, trial: TrialRecord, ticket: Ticket) -> Job:
        must = bool(trial.user_attrs.get("enqueued"))
        return Job(trial.number, self.space.from_params(trial.params), ticket, must)

    def _take_in(self, news: Iterable[TrialRecord]) -> None:
        for trial in news:
            if trial.number in self.trials:
                self.counts[self.trials[trial.number].state] -= 1
            self.counts[trial.state] += 1
            self.trials[trial.number] = trial
            self.mirror.put(
                freeze(
                    number=trial.number,
                    state=trial.state,
                    params=trial.params,
                    distributions=self._distributions,
                    values=trial.values,
                    constraints=trial.constraints,
                    intermediate=trial.intermediate,
                    system_attrs=trial.system_attrs,
                )
            )
