"""Studies, their spaces and their distributions."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import bindparam, delete, insert, select, update

from nasplat.errors import StoreError
from nasplat.files import canonical_json, content_hash
from nasplat.store.attributes import write_attributes
from nasplat.store.database import Link, Row, Statement, insert_missing
from nasplat.store.records import SpaceRecord, StudyRecord
from nasplat.store.tables import Distribution, Space, Study, table

METRIC_NAMES = "study:metric_names"  # the system attribute in which Optuna looks for the objectives' names
_STUDY, _SPACE, _DISTRIBUTION = table(Study), table(Space), table(Distribution)

_put_space = insert_missing(_SPACE, ("hash", "name", "description"))
_space_id = Statement(select(_SPACE.c.id).where(_SPACE.c.hash == bindparam("at")))
_add = Statement(
    insert(_STUDY)
    .values(
        {
            name: bindparam(name)
            for name in ("name", "space_id", "directions", "objectives", "config", "seed", "created")
        }
    )
    .returning(_STUDY.c.id)
)
_reconsider = Statement(
    update(_STUDY)
    .where(_STUDY.c.id == bindparam("at"), _STUDY.c.trial_count == 0)
    .values(config=bindparam("config"))
)
_delete = Statement(delete(_STUDY).where(_STUDY.c.id == bindparam("at")))
_columns = (
    select(
        _STUDY.c.id,
        _STUDY.c.name,
        _STUDY.c.directions,
        _STUDY.c.objectives,
        _STUDY.c.config,
        _STUDY.c.seed,
        _SPACE.c.hash,
        _SPACE.c.name,
        _SPACE.c.description,
    )
    .select_from(_STUDY.outerjoin(_SPACE))
    .order_by(_STUDY.c.id)
)
_all = Statement(_columns)
_by_name = Statement(_columns.where(_STUDY.c.name == bindparam("at")))
_by_id = Statement(_columns.where(_STUDY.c.id == bindparam("at")))
_advance = Statement(
    update(_STUDY)
    .where(_STUDY.c.id == bindparam("at"))
    .values(revision=_STUDY.c.revision + 1, trial_count=_STUDY.c.trial_count + bindparam("new"))
    .returning(_STUDY.c.revision, _STUDY.c.trial_count, _STUDY.c.space_id, _STUDY.c.directions)
)
_count = Statement(
    update(_STUDY)
    .where(_STUDY.c.id == bindparam("at"))
    .values(trial_count=_STUDY.c.trial_count + 1)
    .returning(_STUDY.c.trial_count)
)
_put_distribution = insert_missing(_DISTRIBUTION, ("study_id", "name", "hash", "content"))
_distributions = Statement(
    select(_DISTRIBUTION.c.id, _DISTRIBUTION.c.name, _DISTRIBUTION.c.content)
    .where(_DISTRIBUTION.c.study_id == bindparam("at"), _DISTRIBUTION.c.id > bindparam("after"))
    .order_by(_DISTRIBUTION.c.id)
)


class Step(NamedTuple):
    """A study locked by a transaction: its new revision and the number of the next trial."""

    revision: int
    trial_count: int
    space_id: int | None
    directions: str


def advance(link: Link, study_id: int, new: int = 0) -> Step:
    """Take a study's next revision, and count `new` trials. This locks the study until the transaction ends.

    Raises:
        StoreError: there is no such study.
    """
    row = link.row(_advance, at=study_id, new=new)
    if row is None:
        raise StoreError(f"study {study_id} is not in this store; it may have been deleted")
    return Step(*row)


def count_trial(link: Link, study_id: int) -> int:
    """Count one more trial; its number."""
    return int(link.rows(_count, at=study_id)[0][0]) - 1


def put_space(link: Link, space: SpaceRecord) -> int:
    """The id of a space, stored at the first time."""
    link.change(
        _put_space, hash=space.hash, name=space.name, description=canonical_json(dict(space.description))
    )
    return int(link.rows(_space_id, at=space.hash)[0][0])


def space_id(link: Link, space_hash: str) -> int:
    """The id of a known space.

    Raises:
        StoreError: no study in this store has this space.
    """
    row = link.row(_space_id, at=space_hash)
    if row is None:
        raise StoreError(f"space {space_hash[:12]} is not in this store; create a study of it first")
    return int(row[0])


def add_study(link: Link, study: StudyRecord) -> int:
    """The id of a study: a new one, or the one of this name if it asks the same question.

    Until its first trial a study has no value that depends on its configuration, so it takes the new one.

    Raises:
        StoreError: the name belongs to a study with another space or other objectives.
    """
    known = find_study(link, study.name)
    if known is not None:
        _refuse_another(known, study)
        link.change(_reconsider, at=known.id, config=canonical_json(dict(study.config)))
        return known.id
    study_id = insert_study(link, study)
    put_distributions(link, study_id, study.distributions)
    if study.objectives:
        names = {METRIC_NAMES: list(study.objectives)}
        write_attributes(link, study_id, "system", names, advance(link, study_id).revision)
    return study_id


def insert_study(link: Link, study: StudyRecord) -> int:
    """Insert a study whose name is new; its id."""
    row = link.rows(
        _add,
        name=study.name,
        space_id=None if study.space is None else put_space(link, study.space),
        directions=json.dumps(list(study.directions)),
        objectives=json.dumps(list(study.objectives)),
        config=canonical_json(dict(study.config)),
        seed=study.seed,
        created=time.time(),
    )
    return int(row[0][0])


def delete_study(link: Link, study_id: int) -> bool:
    """Delete a study with its trials; whether there was one."""
    return link.change(_delete, at=study_id) == 1


def put_distributions(link: Link, study_id: int, distributions: Mapping[str, str]) -> None:
    """Store distributions that are new to a study."""
    rows = [
        {"study_id": study_id, "name": name, "hash": content_hash(content), "content": content}
        for name, content in distributions.items()
    ]
    if rows:
        link.change_each(_put_distribution, rows)


def read_distributions(link: Link, study_id: int, after: int = 0) -> Sequence[tuple[int, str, str]]:
    """Id, parameter and content of a study's distributions in the order in which they came."""
    return link.rows(_distributions, at=study_id, after=after)


def find_study(link: Link, name: str) -> StudyRecord | None:
    """The study of a name."""
    row = link.row(_by_name, at=name)
    return None if row is None else _record(row)


def get_study(link: Link, study_id: int) -> StudyRecord | None:
    """The study of an id."""
    row = link.row(_by_id, at=study_id)
    return None if row is None else _record(row)


def list_studies(link: Link) -> list[StudyRecord]:
    """All studies, oldest first."""
    return [_record(row) for row in link.rows(_all)]


def _record(row: Row) -> StudyRecord:
    space = None if row[6] is None else SpaceRecord(row[6], row[7], json.loads(row[8]))
    return StudyRecord(
        id=row[0],
        name=row[1],
        directions=tuple(json.loads(row[2])),
        objectives=tuple(json.loads(row[3])),
        config=json.loads(row[4]),
        seed=row[5],
        space=space,
    )


def _refuse_another(known: StudyRecord, asked: StudyRecord) -> None:
    for what in (_space_of, _objectives_of):
        if what(known) != what(asked):
            raise StoreError(
                f"study {asked.name!r} exists with {what(known)}, not with {what(asked)}; "
                "choose another name or another store"
            )


def _space_of(study: StudyRecord) -> str:
    return "no space" if study.space is None else f"space {study.space.name} ({study.space.hash[:12]})"


def _objectives_of(study: StudyRecord) -> str:
    names = list(study.objectives) or [""] * len(study.directions)
    pairs = zip(study.directions, names, strict=True)
    return "objectives " + ", ".join(f"{direction} {name}".strip() for direction, name in pairs)
