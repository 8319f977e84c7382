"""What goes into a store and comes out of it: plain frozen data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SpaceRecord:
    """A search space as the store knows it: `hash` names it, `description` is JSON."""

    hash: str
    name: str
    description: Json


@dataclass(frozen=True, slots=True)
class StudyRecord:
    """A study: one direction ("minimize", "maximize") and one name per objective.

    `distributions` maps each parameter to its distribution in Optuna's JSON; `space` is None in an Optuna
    study that has no architectures. `id` is 0 until it is stored.
    """

    name: str
    directions: Sequence[str]
    objectives: Sequence[str] = ()
    space: SpaceRecord | None = None
    distributions: Mapping[str, str] = field(default_factory=dict)
    config: Json = field(default_factory=dict)
    seed: int | None = None
    id: int = 0


@dataclass(frozen=True, slots=True)
class Proposal:
    """A trial to be: Optuna's flat parameters and the architecture they stand for, with its key."""

    params: Json
    arch: Json | None = None
    arch_key: str | None = None
    system_attrs: Json = field(default_factory=dict)
    user_attrs: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ticket:
    """The right to finish a trial: valid while `fence` is the trial's current attempt."""

    number: int
    fence: int


@dataclass(frozen=True, slots=True)
class EvaluationRecord:
    """One number of one architecture, or the reason why there is none.

    `unit` is "ms", or "1" for a plain number; `spread` is the inter-quartile range of `n` repeats in that
    unit; `origin` says where the number comes from; `status` is "ok", "not_applicable" or "failed".
    """

    metric: str
    value: float | None
    unit: str
    origin: Json
    spread: float | None = None
    n: int | None = None
    noisy: bool = False
    seconds: float = 0.0
    status: str = "ok"
    reason: str = ""
    per_module: Mapping[str, float] | None = None
    arch_key: str = ""  # filled in by the store
    current: bool = True  # False: superseded


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a trial ended: "complete" with one value per objective, "pruned", "dropped" or "failed".

    `constraints` are violations, feasible at 0 and below; `intermediate` maps steps to values; attributes are
    added to those that the trial and the study have.
    """

    state: str
    values: Sequence[float] | None = None
    constraints: Mapping[str, float] = field(default_factory=dict)
    evaluations: Sequence[EvaluationRecord] = ()
    intermediate: Mapping[int, float] = field(default_factory=dict)
    system_attrs: Json = field(default_factory=dict)
    user_attrs: Json = field(default_factory=dict)
    study_attrs: Json = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """A trial as it stands: `revision` grows whenever it changes, times are UTC."""

    number: int
    state: str
    arch_key: str | None
    arch: dict[str, Any] | None
    params: dict[str, Any]
    values: list[float] | None
    constraints: dict[str, float]
    intermediate: dict[int, float]
    system_attrs: dict[str, Any]
    user_attrs: dict[str, Any]
    error: str | None
    attempt: int
    worker: str | None
    started: datetime | None
    finished: datetime | None
    revision: int


@dataclass(frozen=True, slots=True)
class ArtefactRecord:
    """A file of a study: `path` is relative to the study's folder."""

    kind: str
    path: str
    content_hash: str
    origin: Json
    origin_hash: str
    created: datetime


@dataclass(frozen=True, slots=True)
class ObservationRecord:
    """What a probe saw of a training after `epoch` epochs: named numbers, nested at will, all in `unit`.

    `origin_hash` names the weights that the training makes, as an artefact's does.
    """

    probe: str
    epoch: int
    values: Json
    unit: str = "1"
    origin_hash: str = ""  # filled in by the store
