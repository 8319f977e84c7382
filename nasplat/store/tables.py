"""The tables of a store: every name begins with `nasplat_`, so Optuna's own tables may live in the same file.

Three habits hold everywhere. Times are seconds since 1970 in UTC. A document (parameters, attributes, an
architecture) is JSON text that is read and written whole; what grows without bound (intermediate values,
study attributes, evaluations) has a row each. Every transaction that changes a study's trials takes the next
`study.revision` first: this locks the study against other writers, and a reader that remembers the last
revision it saw reads only what is new.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

STATES = ("waiting", "running", "complete", "pruned", "dropped", "failed")
FINISHED = ("complete", "pruned", "dropped", "failed")
STATUSES = ("ok", "not_applicable", "failed")

_NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


def _one_of(column: str, names: tuple[str, ...]) -> CheckConstraint:
    listed = ", ".join(f"'{name}'" for name in names)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_is_known")


def _cascade(column: str) -> ForeignKey:
    return ForeignKey(column, ondelete="CASCADE")


class Base(DeclarativeBase):
    """The tables of one store; constraint names follow one rule so that migrations can name them."""

    metadata = MetaData(naming_convention=_NAMES)
    type_annotation_map = {str: Text()}  # noqa: RUF012  (SQLAlchemy reads this class attribute)


class Space(Base):
    """A search space: its choices as JSON. The hash names it, whatever file it was written in."""

    __tablename__ = "nasplat_space"
    id: Mapped[int] = mapped_column(primary_key=True)
    hash: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    description: Mapped[str]  # JSON


class Study(Base):
    """A search: what it optimises and where it stands. Optuna's own studies have no space."""

    __tablename__ = "nasplat_study"
    __table_args__ = (
        CheckConstraint("revision >= 0 AND trial_count >= 0", name="counts_up"),
        {"sqlite_autoincrement": True},  # Optuna promises that the id of a deleted study never returns
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    space_id: Mapped[int | None] = mapped_column(ForeignKey("nasplat_space.id"))
    directions: Mapped[str]  # JSON list: "minimize" or "maximize" for each objective
    objectives: Mapped[str]  # JSON list of names; empty where nobody named them
    config: Mapped[str]  # JSON
    seed: Mapped[int | None] = mapped_column(BigInteger)
    created: Mapped[float]
    trial_count: Mapped[int] = mapped_column(server_default=text("0"))  # the number of the next trial
    revision: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))


class StudyAttribute(Base):
    """One attribute of a study. Samplers add to them all along a search: hence a row each."""

    __tablename__ = "nasplat_study_attribute"
    __table_args__ = (
        _one_of("kind", ("system", "user")),
        Index(None, "study_id", "revision"),
    )
    study_id: Mapped[int] = mapped_column(_cascade("nasplat_study.id"), primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]  # JSON
    revision: Mapped[int] = mapped_column(BigInteger)


class Distribution(Base):
    """What values a parameter of a study can take, as Optuna's JSON; a trial names these rows by their id."""

    __tablename__ = "nasplat_distribution"
    __table_args__ = (UniqueConstraint("study_id", "name", "hash"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(_cascade("nasplat_study.id"))
    name: Mapped[str]
    hash: Mapped[str]  # of the content, which may be too long for an index
    content: Mapped[str]  # JSON


class Architecture(Base):
    """One architecture of a space: its active choices as canonical JSON, and the key that names it."""

    __tablename__ = "nasplat_architecture"
    __table_args__ = (UniqueConstraint("space_id", "key"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    space_id: Mapped[int] = mapped_column(_cascade("nasplat_space.id"))
    key: Mapped[str]
    choices: Mapped[str]  # JSON


class Trial(Base):
    """One trial of a study, in one row: proposed, evaluated, finished, and then never changed again.

    One exception: a dropped trial waits again when its architecture is enqueued.

    `attempt` counts how often it was handed to a worker; a result is accepted from the current attempt only.
    A trial of Optuna's own study has no architecture, no worker and no lease.
    """

    __tablename__ = "nasplat_trial"
    __table_args__ = (
        UniqueConstraint("study_id", "number"),
        UniqueConstraint("study_id", "arch_id"),  # a study evaluates no architecture twice
        Index(None, "study_id", "revision"),
        Index(None, "study_id", "state", "number"),
        _one_of("state", STATES),
        CheckConstraint("state <> 'complete' OR objective_values IS NOT NULL", name="complete_has_values"),
        CheckConstraint("worker IS NULL OR state = 'running'", name="only_running_has_worker"),
        CheckConstraint("(worker IS NULL) = (lease_expires IS NULL)", name="worker_has_lease"),
        CheckConstraint("number >= 0 AND attempt >= 0", name="counts_up"),
        {"sqlite_autoincrement": True},  # Optuna promises that the id of a deleted trial never returns
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(_cascade("nasplat_study.id"))
    number: Mapped[int]
    state: Mapped[str]
    arch_id: Mapped[int | None] = mapped_column(ForeignKey("nasplat_architecture.id"))
    params: Mapped[str]  # JSON object: name to value
    distributions: Mapped[str]  # JSON list: the distribution's id for each parameter, in the same order
    objective_values: Mapped[str | None]  # JSON list, in the order of the study's directions
    constraints: Mapped[str]  # JSON object: name to violation, feasible at 0 and below
    system_attrs: Mapped[str]  # JSON object
    user_attrs: Mapped[str]  # JSON object
    steps: Mapped[int] = mapped_column(server_default=text("0"))  # 1 where intermediate values exist
    error: Mapped[str | None]
    attempt: Mapped[int]
    worker: Mapped[str | None]  # "host:pid:random"
    lease_expires: Mapped[float | None]
    started: Mapped[float | None]
    finished: Mapped[float | None]
    revision: Mapped[int] = mapped_column(BigInteger)


class IntermediateValue(Base):
    """One value that a trial reported before its end, such as the accuracy after an epoch."""

    __tablename__ = "nasplat_intermediate_value"
    trial_id: Mapped[int] = mapped_column(_cascade("nasplat_trial.id"), primary_key=True)
    step: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    value: Mapped[float | None]  # NULL is NaN, which SQLite cannot hold


class Origin(Base):
    """Where a number or a file came from: device, protocol, data, seed, weights, versions, commit."""

    __tablename__ = "nasplat_origin"
    id: Mapped[int] = mapped_column(primary_key=True)
    hash: Mapped[str] = mapped_column(unique=True)
    content: Mapped[str]  # canonical JSON


class Evaluation(Base):
    """One measured or predicted number of one architecture, with unit, spread and origin.

    (architecture, metric, origin) has one current row. A noisy or failed value may be superseded: its row
    stays and is no longer current.
    """

    __tablename__ = "nasplat_evaluation"
    __table_args__ = (
        Index(
            "uq_nasplat_evaluation_current",
            "arch_id",
            "metric",
            "origin_id",
            unique=True,
            sqlite_where=text("current = 1"),
            postgresql_where=text("current"),
        ),
        Index(None, "arch_id"),
        _one_of("status", STATUSES),
        CheckConstraint("status <> 'ok' OR value IS NOT NULL", name="ok_has_value"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    arch_id: Mapped[int] = mapped_column(_cascade("nasplat_architecture.id"))
    metric: Mapped[str]
    origin_id: Mapped[int] = mapped_column(ForeignKey("nasplat_origin.id"))
    current: Mapped[bool]
    status: Mapped[str]
    value: Mapped[float | None]
    unit: Mapped[str]  # "ms"; "1" for a plain number
    spread: Mapped[float | None]  # inter-quartile range, in the same unit
    n: Mapped[int | None]  # repeats behind the value
    noisy: Mapped[bool]
    seconds: Mapped[float]  # what the evaluation took
    reason: Mapped[str]  # why there is no value; empty when there is
    per_module: Mapped[str | None]  # JSON object: module name to value
    created: Mapped[float]


class Machine(Base):
    """A computer or device that numbers came from."""

    __tablename__ = "nasplat_machine"
    id: Mapped[int] = mapped_column(primary_key=True)
    fingerprint: Mapped[str] = mapped_column(unique=True)
    info: Mapped[str]  # JSON


class Artefact(Base):
    """A file of a study: written first, this row last, so that what has a row is whole."""

    __tablename__ = "nasplat_artefact"
    __table_args__ = (UniqueConstraint("study_id", "kind", "origin_id"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(_cascade("nasplat_study.id"))
    kind: Mapped[str]  # "supernet"
    origin_id: Mapped[int] = mapped_column(ForeignKey("nasplat_origin.id"))
    path: Mapped[str]  # relative to the study's folder
    content_hash: Mapped[str]
    created: Mapped[float]


class Observation(Base):
    """What a probe saw of a training after some epochs; a resumed training overwrites an epoch that it repeats."""

    __tablename__ = "nasplat_observation"
    __table_args__ = (CheckConstraint("epoch >= 0", name="counts_up"),)
    study_id: Mapped[int] = mapped_column(_cascade("nasplat_study.id"), primary_key=True)
    origin_id: Mapped[int] = mapped_column(
        ForeignKey("nasplat_origin.id"), primary_key=True
    )  # of the weights
    probe: Mapped[str] = mapped_column(primary_key=True)  # "norm_drift", "gradient_conflict:depth"
    epoch: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)  # epochs done, from 1
    content: Mapped[str]  # JSON object; null is NaN
    unit: Mapped[str]
    created: Mapped[float]


class Claim(Base):
    """A long job that one worker does while the others wait, such as training the supernet."""

    __tablename__ = "nasplat_claim"
    study_id: Mapped[int] = mapped_column(_cascade("nasplat_study.id"), primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    worker: Mapped[str]
    lease_expires: Mapped[float]


def table(row: type[Base]) -> Table:
    """The table of a row class, to write Core statements about."""
    found = row.__table__
    assert isinstance(found, Table)
    return found
