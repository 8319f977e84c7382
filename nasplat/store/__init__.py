"""The store: SQL tables that remember every study, trial, evaluation and file.

`Store` is what the run loop uses; `OptunaStorage` puts Optuna's storage interface on the same tables and is
imported at its first use, so that the rest needs no Optuna.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nasplat.store.leases import worker_name
from nasplat.store.records import (
    ArtefactRecord,
    EvaluationRecord,
    ObservationRecord,
    Outcome,
    Proposal,
    SpaceRecord,
    StudyRecord,
    Ticket,
    TrialRecord,
)
from nasplat.store.store import Store
from nasplat.store.turn import Turn

if TYPE_CHECKING:
    from nasplat.store.optuna_storage import OptunaStorage

__all__ = [
    "ArtefactRecord",
    "EvaluationRecord",
    "ObservationRecord",
    "OptunaStorage",
    "Outcome",
    "Proposal",
    "SpaceRecord",
    "Store",
    "StudyRecord",
    "Ticket",
    "TrialRecord",
    "Turn",
    "worker_name",
]


def __getattr__(name: str) -> Any:
    if name == "OptunaStorage":
        from nasplat.store.optuna_storage import OptunaStorage

        return OptunaStorage
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
