"""What a trial may look up instead of measuring, and what it writes down before it ends."""

from __future__ import annotations

from dataclasses import dataclass

from nasplat.files import json_hash
from nasplat.metric import Candidate, Cost, Metric
from nasplat.store import EvaluationRecord, Store
from nasplat.study.shelf import Shelf

AT_ONCE_SECONDS = 1.0
"""What took longer is stored as soon as it is known, so that a killed trial does not measure it again."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """The store's memory of one space, and the shelf for weights."""

    store: Store
    space_hash: str
    shelf: Shelf

    def recall(self, metric: Metric, candidate: Candidate) -> EvaluationRecord | None:
        """The current value of the metric, unless it is noisy or failed and so worth another try.

        What training gave comes with the trained network, for the metrics that follow; without it, it is no use.
        """
        origin = json_hash(dict(metric.origin))
        known = self.store.current(self.space_hash, candidate.arch.key, metric.name, origin)
        if known is None or known.noisy or known.status != "ok":
            return None
        if metric.cost is Cost.TRAINED and not self.shelf.restore_trained(candidate, known.origin):
            return None
        return known

    def keep(self, record: EvaluationRecord, candidate: Candidate) -> bool:
        """Store a costly result at once; the weights come before the row that speaks of them. Whether it was."""
        if candidate.unsaved:
            self.shelf.keep_trained(candidate, record.origin)
            candidate.unsaved = False
        if record.seconds < AT_ONCE_SECONDS:
            return False
        self.store.record(self.space_hash, candidate.arch.to_json(), candidate.arch.key, record)
        return True
