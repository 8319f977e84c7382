"""Attributes of studies, read once and then only what is new."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import bindparam, insert, select, update

from nasplat.store.database import Link, Statement
from nasplat.store.tables import StudyAttribute, table

_ATTRIBUTE = table(StudyAttribute)
_new = Statement(
    select(_ATTRIBUTE.c.kind, _ATTRIBUTE.c.key, _ATTRIBUTE.c.value, _ATTRIBUTE.c.revision).where(
        _ATTRIBUTE.c.study_id == bindparam("at"), _ATTRIBUTE.c.revision > bindparam("since")
    )
)
_change = Statement(
    update(_ATTRIBUTE)
    .where(
        _ATTRIBUTE.c.study_id == bindparam("at"),
        _ATTRIBUTE.c.kind == bindparam("of"),
        _ATTRIBUTE.c.key == bindparam("named"),
    )
    .values(value=bindparam("value"), revision=bindparam("revision"))
)
_add = Statement(
    insert(_ATTRIBUTE).values(
        {name: bindparam(name) for name in ("study_id", "kind", "key", "value", "revision")}
    )
)


class Attributes(NamedTuple):
    """The attributes of one study. The dictionaries are never changed: news come in new ones."""

    revision: int
    system: dict[str, Any]
    user: dict[str, Any]


class AttributeCache:
    """What has been read of the attributes of each study. It may hold committed rows only: see `clear`."""

    def __init__(self) -> None:
        self._known: dict[int, Attributes] = {}

    def read(self, link: Link, study_id: int) -> Attributes:
        """The attributes of a study as they are now."""
        known = self._known.get(study_id) or Attributes(-1, {}, {})
        rows = link.rows(_new, at=study_id, since=known.revision)
        if not rows:
            return known
        parts = {"system": dict(known.system), "user": dict(known.user)}
        for kind, key, value, _ in rows:
            parts[kind][key] = json.loads(value)
        now = Attributes(max(row[3] for row in rows), parts["system"], parts["user"])
        self._known[study_id] = now
        return now

    def clear(self) -> None:
        """Forget everything, since a transaction that was rolled back may have been read."""
        self._known.clear()


def write_attributes(link: Link, study_id: int, kind: str, attrs: Mapping[str, Any], revision: int) -> None:
    """Set attributes of a study in a transaction that took `revision`."""
    for key, content in attrs.items():
        value = json.dumps(content)
        if not link.change(_change, at=study_id, of=kind, named=key, value=value, revision=revision):
            link.change(_add, study_id=study_id, kind=kind, key=key, value=value, revision=revision)
