"""What probes saw while a supernet was trained."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import bindparam, delete, insert, select

from nasplat.files import canonical_json
from nasplat.store.database import Link, Statement
from nasplat.store.records import ObservationRecord
from nasplat.store.tables import Observation, Origin, table

_OBSERVATION, _ORIGIN = table(Observation), table(Origin)
_FIELDS = ("study_id", "origin_id", "probe", "epoch", "content", "unit", "created")
_add = Statement(insert(_OBSERVATION).values({name: bindparam(name) for name in _FIELDS}))
_forget = Statement(
    delete(_OBSERVATION).where(
        _OBSERVATION.c.study_id == bindparam("at"),
        _OBSERVATION.c.origin_id == bindparam("of"),
        _OBSERVATION.c.probe == bindparam("named"),
        _OBSERVATION.c.epoch == bindparam("after"),
    )
)
_all = Statement(
    select(
        _OBSERVATION.c.probe,
        _OBSERVATION.c.epoch,
        _OBSERVATION.c.content,
        _OBSERVATION.c.unit,
        _ORIGIN.c.hash,
    )
    .select_from(_OBSERVATION.join(_ORIGIN))
    .where(_OBSERVATION.c.study_id == bindparam("at"))
    .order_by(_OBSERVATION.c.origin_id, _OBSERVATION.c.probe, _OBSERVATION.c.epoch)
)


def put_observations(link: Link, study_id: int, origin_id: int, records: Iterable[ObservationRecord]) -> None:
    """Store what probes saw; a newer row of the same probe and epoch takes the place of the older one."""
    for record in records:
        link.change(_forget, at=study_id, of=origin_id, named=record.probe, after=record.epoch)
        link.change(
            _add,
            study_id=study_id,
            origin_id=origin_id,
            probe=record.probe,
            epoch=record.epoch,
            content=canonical_json(_plain(record.values)),
            unit=record.unit,
            created=time.time(),
        )


def read_observations(link: Link, study_id: int) -> list[ObservationRecord]:
    """All rows of a study, by training, probe and epoch."""
    rows = link.rows(_all, at=study_id)
    return [
        ObservationRecord(probe, epoch, json.loads(content), unit, origin)
        for probe, epoch, content, unit, origin in rows
    ]


def _plain(value: Any) -> Any:
    """JSON as every reader knows it: keys are text, what is not finite is null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
