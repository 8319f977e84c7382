"""Origins, architectures and the numbers that belong to them."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from sqlalchemy import Select, bindparam, insert, select, true, update

from nasplat.files import canonical_json, content_hash
from nasplat.store.database import Link, Row, Statement, insert_missing
from nasplat.store.records import EvaluationRecord
from nasplat.store.tables import Architecture, Evaluation, Origin, Space, table

_ARCH, _ORIGIN, _EVALUATION, _SPACE = table(Architecture), table(Origin), table(Evaluation), table(Space)

_put_origin = insert_missing(_ORIGIN, ("hash", "content"))
_origin_id = Statement(select(_ORIGIN.c.id).where(_ORIGIN.c.hash == bindparam("at")))
_put_arch = insert_missing(_ARCH, ("space_id", "key", "choices"))
_arch_id = Statement(
    select(_ARCH.c.id).where(_ARCH.c.space_id == bindparam("of"), _ARCH.c.key == bindparam("at"))
)
_lock = Statement(select(_ARCH.c.id).where(_ARCH.c.id == bindparam("at")).with_for_update())
_current = Statement(
    select(_EVALUATION.c.id, _EVALUATION.c.status, _EVALUATION.c.noisy).where(
        _EVALUATION.c.arch_id == bindparam("arch"),
        _EVALUATION.c.metric == bindparam("named"),
        _EVALUATION.c.origin_id == bindparam("of"),
        _EVALUATION.c.current == true(),
    )
)
_supersede = Statement(
    update(_EVALUATION).where(_EVALUATION.c.id == bindparam("at")).values(current=bindparam("current"))
)
_FIELDS = ("metric", "value", "unit", "spread", "n", "noisy", "seconds", "status", "reason", "per_module")
_add = Statement(
    insert(_EVALUATION).values(
        {name: bindparam(name) for name in ("arch_id", "origin_id", "current", "created", *_FIELDS)}
    )
)


class OriginCache:
    """Ids of origins that are stored. It may hold committed rows only: see `clear`."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def id(self, link: Link, origin: Mapping[str, Any]) -> int:
        """The id of an origin, stored at the first time."""
        content = canonical_json(dict(origin))
        known = self._known.get(content)
        if known is None:
            digest = content_hash(content)
            link.change(_put_origin, hash=digest, content=content)
            known = self._known[content] = int(link.rows(_origin_id, at=digest)[0][0])
        return known

    def clear(self) -> None:
        """Forget everything, since a transaction that was rolled back may have stored some."""
        self._known.clear()


def put_architecture(link: Link, space_id: int, key: str, choices: Mapping[str, Any]) -> int:
    """The id of an architecture, stored at the first time."""
    row = link.row(_arch_id, of=space_id, at=key)
    if row is None:
        link.change(_put_arch, space_id=space_id, key=key, choices=canonical_json(dict(choices)))
        row = link.rows(_arch_id, of=space_id, at=key)[0]
    return int(row[0])


def put_evaluation(link: Link, arch_id: int, origin_id: int, record: EvaluationRecord) -> bool:
    """Store a number and make it the current one; False, and nothing stored, where a good one is there.

    A noisy, failed or inapplicable number is superseded: its row stays. A failure supersedes no number.
    """
    if record.status == "ok" and (record.value is None or math.isnan(record.value)):
        raise ValueError(f"{record.metric} is {record.value}; record status 'failed' with a reason instead")
    if link.dialect.name != "sqlite":  # there every writer is alone
        link.rows(_lock, at=arch_id)
    found = link.row(_current, arch=arch_id, named=record.metric, of=origin_id)
    if found is not None:
        known, status, noisy = found
        if status == "ok" and not (noisy and record.status == "ok"):
            return False
        link.change(_supersede, at=known, current=False)
    where = {"arch_id": arch_id, "origin_id": origin_id, "current": True, "created": time.time()}
    link.change(_add, **where, **_values(record))
    return True


def _values(record: EvaluationRecord) -> dict[str, Any]:
    values = {name: getattr(record, name) for name in _FIELDS}
    values["noisy"] = bool(record.noisy)
    for name in ("value", "spread"):  # numpy's numbers become Python's; SQLite has no NaN
        number = values[name]
        values[name] = None if number is None or math.isnan(number) else float(number)
    if record.per_module is not None:
        values["per_module"] = json.dumps(dict(record.per_module))
    return values


def _select() -> Select[Any]:
    fields = [_EVALUATION.c[name] for name in _FIELDS]
    joined = _EVALUATION.join(_ARCH).join(_ORIGIN).join(_SPACE, _ARCH.c.space_id == _SPACE.c.id)
    return (
        select(*fields, _ORIGIN.c.content, _ARCH.c.key, _EVALUATION.c.current)
        .select_from(joined)
        .where(_SPACE.c.hash == bindparam("space"))
        .order_by(_EVALUATION.c.id)
    )


@cache
def _reading(by_key: bool, by_metric: bool, superseded: bool) -> Statement:
    query = _select()
    if by_key:
        query = query.where(_ARCH.c.key == bindparam("at"))
    if by_metric:
        query = query.where(_EVALUATION.c.metric == bindparam("named"))
    return Statement(query if superseded else query.where(_EVALUATION.c.current == true()))


def read_evaluations(
    link: Link, space_hash: str, keys: Iterable[str] | None, metric: str | None, superseded: bool
) -> list[EvaluationRecord]:
    """The numbers of a space: of some architectures or all, of one metric or all; oldest first per key."""
    statement = _reading(keys is not None, metric is not None, superseded)
    filters = {"space": space_hash} | ({} if metric is None else {"named": metric})
    if keys is None:
        rows = link.rows(statement, **filters)
    else:
        rows = [row for key in dict.fromkeys(keys) for row in link.rows(statement, at=key, **filters)]
    origins: dict[str, Any] = {}
    return [_record(row, origins) for row in rows]


_one = Statement(
    _select().where(
        _ARCH.c.key == bindparam("at"),
        _EVALUATION.c.metric == bindparam("named"),
        _ORIGIN.c.hash == bindparam("of"),
        _EVALUATION.c.current == true(),
    )
)


def current_evaluation(
    link: Link, space_hash: str, key: str, metric: str, origin_hash: str
) -> EvaluationRecord | None:
    """The current number of (architecture, metric, origin)."""
    row = link.row(_one, space=space_hash, at=key, named=metric, of=origin_hash)
    return None if row is None else _record(row, {})


def _record(row: Row, origins: dict[str, Any]) -> EvaluationRecord:
    """A record from its row; equal origins share one dictionary."""
    metric, value, unit, spread, n, noisy, seconds, status, reason, per_module, content, key, current = row
    origin = origins.get(content)
    if origin is None:
        origin = origins[content] = json.loads(content)
    return EvaluationRecord(
        metric=metric,
        value=value,
        unit=unit,
        origin=origin,
        spread=spread,
        n=n,
        noisy=bool(noisy),
        seconds=seconds,
        status=status,
        reason=reason,
        per_module=None if per_module is None else json.loads(per_module),
        arch_key=key,
        current=bool(current),
    )
