"""The store: the record of every study, trial, evaluation and file, in one SQL database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nasplat.store import artefacts, evaluations, handover, observations, studies
from nasplat.store.attributes import AttributeCache
from nasplat.store.database import Database
from nasplat.store.evaluations import OriginCache
from nasplat.store.records import (
    ArtefactRecord,
    EvaluationRecord,
    ObservationRecord,
    Outcome,
    Proposal,
    StudyRecord,
    Ticket,
    TrialRecord,
)
from nasplat.store.schema import open_database
from nasplat.store.trials import number_of_arch, read_trials
from nasplat.store.turn import Caches, DistributionCache, Seat, Turn, arch_of, insert_proposal


class Store:
    """A database of studies, shared by any number of workers.

    Every method is one transaction, so a process that dies leaves the state before it or the state after it.
    One object may serve several threads. Errors are `StoreError`, in one line.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._caches = Caches(AttributeCache(), DistributionCache())
        self._origins = OriginCache()
        database.on_rollback = self._forget

    @classmethod
    def open(cls, url: str, *, base: Path | None = None, create: bool = True) -> Self:
        """Open a store; make or upgrade its tables where needed (an older SQLite store is copied first).

        `url` is "sqlite:///study.db", relative to `base`, or "postgresql+psycopg://user@host/name".
        With `create=False` a store that does not exist is an error.
        """
        return cls(open_database(url, base, create))

    def _forget(self) -> None:
        self._caches.attributes.clear()
        self._caches.distributions.clear()
        self._origins.clear()

    @property
    def url(self) -> str:
        """The address of the database, with its password; SQLite's path is absolute."""
        return self._database.url.render_as_string(hide_password=False)

    def close(self) -> None:
        """Close all connections; a later call opens them again."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # studies

    def create_study(self, study: StudyRecord) -> int:
        """The id of a study: a new one, or the one of this name if space and objectives are the same.

        One that has no trial yet takes the new configuration; any other keeps its own, which `find_study` tells.
        """
        with self._database.transaction() as link:
            return studies.add_study(link, study)

    def find_study(self, name: str) -> StudyRecord | None:
        """The study of a name, without its distributions."""
        with self._database.snapshot() as link:
            return studies.find_study(link, name)

    def studies(self) -> list[StudyRecord]:
        """All studies, oldest first, without their distributions."""
        with self._database.snapshot() as link:
            return studies.list_studies(link)

    def study_attrs(self, study_id: int) -> dict[str, Any]:
        """The system attributes of a study."""
        with self._database.snapshot() as link:
            return dict(self._caches.attributes.read(link, study_id).system)

    # trials

    @contextmanager
    def asking(self, study_id: int, worker: str, *, lease_seconds: float, since: int = 0) -> Iterator[Turn]:
        """One transaction in which a worker sees the trials that changed after `since` and takes or makes one.

        Leaving the block commits; an exception takes everything back. Keep it short: others wait.
        """
        with self._database.transaction() as link:
            step = studies.advance(link, study_id)
            turn = Turn(link, Seat(study_id, worker, lease_seconds), step, self._caches)
            turn.read_news(since)
            yield turn

    def tell(self, study_id: int, ticket: Ticket, outcome: Outcome) -> bool:
        """Finish a trial; False, and nothing stored, if the trial was handed on to another worker."""
        with self._database.transaction() as link:
            return handover.tell(link, study_id, ticket, outcome, self._origins)

    def renew(self, study_id: int, ticket: Ticket, lease_seconds: float) -> bool:
        """Hold a trial for longer; False if it was handed on."""
        with self._database.transaction() as link:
            return handover.renew(link, study_id, ticket, lease_seconds)

    def release(self, study_id: int, ticket: Ticket) -> None:
        """Give a trial back at once: it waits under its own number. Nothing happens if it was handed on."""
        with self._database.transaction() as link:
            handover.release(link, study_id, ticket)

    def reap(self, study_id: int) -> list[int]:
        """Let trials wait again whose lease ran out or whose process, on this host, is dead; their numbers."""
        with self._database.snapshot() as link:
            if not handover.lost(link, study_id):
                return []
        with self._database.transaction() as link:
            return handover.reap(link, study_id)

    def enqueue(self, study_id: int, proposal: Proposal) -> int | None:
        """Add a waiting trial; its number, or None if its architecture is in the study already.

        An architecture that was dropped waits again, under its number and with the proposal's user attributes.
        """
        with self._database.transaction() as link:
            step = studies.advance(link, study_id)
            arch_id = arch_of(link, step, proposal)
            known = None if arch_id is None else link.row(number_of_arch, at=study_id, arch=arch_id)
            if known is not None:
                taken_up = handover.take_up(link, study_id, known[0], proposal.user_attrs, step.revision)
                return known[0] if taken_up else None
            ids = self._caches.distributions.ids(link, study_id, proposal.params)
            fields = {"state": "waiting", "distributions": ids}
            return insert_proposal(link, study_id, step, proposal, fields)

    def trials(self, study_id: int, *, since: int = 0) -> list[TrialRecord]:
        """The trials that changed after a revision, by number."""
        with self._database.snapshot() as link:
            return read_trials(link, study_id, since)

    # evaluations

    def record(
        self, space_hash: str, arch: Mapping[str, Any], arch_key: str, evaluation: EvaluationRecord
    ) -> bool:
        """Store a number of an architecture; False, and nothing stored, if a good one is there already."""
        with self._database.transaction() as link:
            space_id = studies.space_id(link, space_hash)
            arch_id = evaluations.put_architecture(link, space_id, arch_key, arch)
            return evaluations.put_evaluation(
                link, arch_id, self._origins.id(link, evaluation.origin), evaluation
            )

    def evaluations(
        self,
        space_hash: str,
        arch_keys: Iterable[str] | None = None,
        metric: str | None = None,
        *,
        superseded: bool = False,
    ) -> list[EvaluationRecord]:
        """Current numbers of a space, of some architectures and one metric or of all; old ones too if asked."""
        with self._database.snapshot() as link:
            return evaluations.read_evaluations(link, space_hash, arch_keys, metric, superseded)

    def current(
        self, space_hash: str, arch_key: str, metric: str, origin_hash: str
    ) -> EvaluationRecord | None:
        """The current number of (architecture, metric, origin); the hash is `json_hash(origin)`."""
        with self._database.snapshot() as link:
            return evaluations.current_evaluation(link, space_hash, arch_key, metric, origin_hash)

    # probes

    def observe(self, study_id: int, origin: Mapping[str, Any], records: Sequence[ObservationRecord]) -> None:
        """Store what probes saw of the training whose weights have this origin; an epoch seen again is overwritten."""
        with self._database.transaction() as link:
            observations.put_observations(link, study_id, self._origins.id(link, origin), records)

    def observations(self, study_id: int) -> list[ObservationRecord]:
        """What probes saw of the trainings of a study, by training, probe and epoch."""
        with self._database.snapshot() as link:
            return observations.read_observations(link, study_id)

    # machines, files and long jobs

    def machine(self, info: Mapping[str, Any]) -> int:
        """The id of a machine, stored at the first time; `info["fingerprint"]` names it."""
        with self._database.transaction() as link:
            return artefacts.put_machine(link, info)

    def put_artefact(
        self, study_id: int, kind: str, path: str, content_hash: str, origin: Mapping[str, Any]
    ) -> None:
        """Store the row of a file that is whole; a newer file of the same kind and origin takes its place."""
        now = datetime.now(UTC)
        with self._database.transaction() as link:
            record = ArtefactRecord(kind, path, content_hash, origin, "", now)
            artefacts.put_artefact(link, study_id, self._origins.id(link, origin), record)

    def artefact(self, study_id: int, kind: str, origin_hash: str) -> ArtefactRecord | None:
        """The file of a kind and origin; the hash is `json_hash(origin)`."""
        with self._database.snapshot() as link:
            return artefacts.find_artefact(link, study_id, kind, origin_hash)

    def claim(self, study_id: int, kind: str, worker: str, lease_seconds: float) -> bool:
        """Claim a long job of a study, such as "supernet"; False while another living worker has it."""
        with self._database.transaction() as link:
            studies.advance(link, study_id)  # one at a time, on PostgreSQL too
            return artefacts.take_claim(link, study_id, kind, worker, lease_seconds)

    def renew_claim(self, study_id: int, kind: str, worker: str, lease_seconds: float) -> bool:
        """Keep a claim for longer; False if another worker has it by now."""
        with self._database.transaction() as link:
            return artefacts.hold_claim(link, study_id, kind, worker, lease_seconds)

    def unclaim(self, study_id: int, kind: str, worker: str) -> None:
        """Give a claim up."""
        with self._database.transaction() as link:
            artefacts.give_up_claim(link, study_id, kind, worker)
