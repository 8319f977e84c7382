"""What is known of the scores of architectures, and what the store still lacks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from nasplat.files import json_hash
from nasplat.metric import Metric
from nasplat.metric.score import measured
from nasplat.space import Arch, Space
from nasplat.store import EvaluationRecord
from nasplat.study.evaluate import as_record
from nasplat.study.run import Watcher
from nasplat.study.scorer import Job, Results
from nasplat.study.shelf import Shelf

Found = Mapping[str, EvaluationRecord]
"""The scores of one architecture by name, each with a value or a reason."""


@dataclass(slots=True)
class Book:
    """Scores by architecture, in the order in which they came; `metrics` are those asked for, by the score's name."""

    space: Space
    metrics: Mapping[str, Metric]
    shelf: Shelf
    watcher: Watcher
    total: int
    found: dict[Arch, Found] = field(default_factory=dict)

    def missing(self, archs: Iterable[Arch]) -> Iterator[Job]:
        """What the store lacks, looked up when it is asked for: others may score the same study."""
        for arch in archs:
            known = self._stored(arch)
            lacking = tuple(name for name, record in known.items() if record is None)
            if lacking:
                yield Job(arch, lacking)
            else:
                self._note(arch, {name: record for name, record in known.items() if record is not None})

    def keep(self, job: Job, results: Results) -> None:
        """Store the scores that an architecture lacked."""
        known = self._stored(job.arch)
        for name, result in results.items():
            record = known[name] = as_record(self.metrics[name], measured(result))
            self.shelf.store.record(self.space.hash, job.arch.to_json(), job.arch.key, record)
        self._note(job.arch, {name: record for name, record in known.items() if record is not None})

    def _stored(self, arch: Arch) -> dict[str, EvaluationRecord | None]:
        store, space = self.shelf.store, self.space.hash
        return {
            name: store.current(space, arch.key, metric.name, json_hash(dict(metric.origin)))
            for name, metric in self.metrics.items()
        }

    def _note(self, arch: Arch, found: Found) -> None:
        self.found[arch] = found
        self.watcher.trial(len(self.found), self.total, self.space.notation.spell(arch))
