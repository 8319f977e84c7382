"""Whatever workers do in whatever order: finished trials stay as they are, but for a dropped one that is enqueued,
and one ticket at most is valid."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from nasplat.errors import StoreError
from nasplat.store import Outcome, Proposal, SpaceRecord, Store, StudyRecord, Ticket, TrialRecord

OUTCOMES = st.sampled_from(
    [Outcome("complete", (1.0,)), Outcome("pruned"), Outcome("dropped"), Outcome("failed", error="why")]
)
LEASES = st.sampled_from([60.0, -1.0])  # long, or over already
WORKER = "elsewhere:1:a"


class Workers(RuleBasedStateMachine):
    """Workers with tickets, good and stale, against a model that knows which ticket is the good one."""

    tickets = Bundle("tickets")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = Store.open("sqlite:///study.db", base=Path(self.folder.name))
        self.study = self.store.create_study(StudyRecord("s", ("minimize",), space=SpaceRecord("h", "s", {})))
        self.holders: dict[int, Ticket] = {}  # running trials
        self.expired: set[int] = set()
        self.waiting: set[int] = set()
        self.finished: dict[int, TrialRecord] = {}

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    @property
    def count(self) -> int:
        return len(self.holders) + len(self.waiting) + len(self.finished)

    def _hold(self, ticket: Ticket, lease: float) -> None:
        self.waiting.discard(ticket.number)
        self.holders[ticket.number] = ticket
        self.expired.discard(ticket.number)
        if lease < 0:
            self.expired.add(ticket.number)

    def _valid(self, ticket: Ticket) -> bool:
        return self.holders.get(ticket.number) == ticket

    @rule(target=tickets, lease=LEASES)
    def ask(self, lease: float) -> Ticket:
        """A worker takes the first waiting trial, or makes one."""
        with self.store.asking(self.study, WORKER, lease_seconds=lease) as turn:
            assert turn.number == self.count
            first = turn.waiting
            assert (first.number if first else None) == min(self.waiting, default=None)
            ticket = turn.claim(first.number) if first else turn.create(self._proposal())
        self._hold(ticket, lease)
        return ticket

    def _proposal(self, number: int | None = None) -> Proposal:
        n = self.count if number is None else number
        return Proposal({}, {"n": n}, f"k{n}")

    @rule()
    def enqueue(self) -> None:
        number = self.store.enqueue(self.study, self._proposal())
        assert number == self.count
        self.waiting.add(number)

    @rule(ticket=tickets)
    def enqueue_again(self, ticket: Ticket) -> None:
        """Somebody wants an architecture that is in the study already."""
        known = self.finished.get(ticket.number)
        dropped = known is not None and known.state == "dropped"
        number = self.store.enqueue(self.study, self._proposal(ticket.number))
        assert number == (ticket.number if dropped else None)
        if dropped:
            del self.finished[ticket.number]
            self.waiting.add(ticket.number)

    @rule(ticket=tickets, outcome=OUTCOMES)
    def tell(self, ticket: Ticket, outcome: Outcome) -> None:
        accepted = self.store.tell(self.study, ticket, outcome)
        assert accepted == self._valid(ticket)
        if accepted:
            del self.holders[ticket.number]
            self.finished[ticket.number] = self.store.trials(self.study)[ticket.number]
            assert self.finished[ticket.number].state == outcome.state

    @rule(ticket=tickets, lease=LEASES)
    def renew(self, ticket: Ticket, lease: float) -> None:
        accepted = self.store.renew(self.study, ticket, lease)
        assert accepted == self._valid(ticket)
        if accepted:
            self._hold(ticket, lease)

    @rule(ticket=tickets)
    def release(self, ticket: Ticket) -> None:
        self.store.release(self.study, ticket)
        if self._valid(ticket):
            del self.holders[ticket.number]
            self.waiting.add(ticket.number)

    @rule()
    def reap(self) -> None:
        lost = {number for number in self.expired if number in self.holders}
        assert self.store.reap(self.study) == sorted(lost)
        for number in lost:
            del self.holders[number]
        self.waiting |= lost

    @rule(target=tickets, ticket=tickets)
    def claim(self, ticket: Ticket) -> object:
        """A worker asks for a trial by its number, whether it waits or not."""
        with self.store.asking(self.study, WORKER, lease_seconds=60) as turn:
            try:
                taken = turn.claim(ticket.number)
            except StoreError:
                assert ticket.number not in self.waiting
                return multiple()
        assert ticket.number in self.waiting
        self._hold(taken, 60)
        return taken

    @invariant()
    def trials_are_as_expected(self) -> None:
        trials = self.store.trials(self.study)
        assert [trial.number for trial in trials] == list(range(self.count))
        for trial in trials:
            if trial.number in self.finished:
                assert trial == self.finished[trial.number]
            elif trial.number in self.holders:
                assert (trial.state, trial.attempt) == ("running", self.holders[trial.number].fence)
            else:
                assert trial.state == "waiting"


TestWorkers = Workers.TestCase
TestWorkers.settings = settings(
    max_examples=30, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
