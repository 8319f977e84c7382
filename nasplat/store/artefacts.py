"""Files of a study, the machines that made them, and long jobs that one worker does for all."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update

from nasplat.errors import StoreError
from nasplat.files import canonical_json
from nasplat.store.database import Link, Row, Statement, insert_missing
from nasplat.store.leases import is_alive
from nasplat.store.records import ArtefactRecord
from nasplat.store.tables import Artefact, Claim, Machine, Origin, table

_ARTEFACT, _CLAIM, _MACHINE, _ORIGIN = table(Artefact), table(Claim), table(Machine), table(Origin)

_put_machine = insert_missing(_MACHINE, ("fingerprint", "info"))
_machine_id = Statement(select(_MACHINE.c.id).where(_MACHINE.c.fingerprint == bindparam("at")))
_add = Statement(
    insert(_ARTEFACT).values(
        {
            name: bindparam(name)
            for name in ("study_id", "kind", "origin_id", "path", "content_hash", "created")
        }
    )
)
_replace = Statement(
    update(_ARTEFACT)
    .where(
        _ARTEFACT.c.study_id == bindparam("at"),
        _ARTEFACT.c.kind == bindparam("named"),
        _ARTEFACT.c.origin_id == bindparam("of"),
    )
    .values({name: bindparam(name) for name in ("path", "content_hash", "created")})
)
_one = Statement(
    select(
        _ARTEFACT.c.kind,
        _ARTEFACT.c.path,
        _ARTEFACT.c.content_hash,
        _ORIGIN.c.content,
        _ORIGIN.c.hash,
        _ARTEFACT.c.created,
    )
    .select_from(_ARTEFACT.join(_ORIGIN))
    .where(
        _ARTEFACT.c.study_id == bindparam("at"),
        _ARTEFACT.c.kind == bindparam("named"),
        _ORIGIN.c.hash == bindparam("of"),
    )
)

_mine = (_CLAIM.c.study_id == bindparam("at"), _CLAIM.c.kind == bindparam("named"))
_holder = Statement(select(_CLAIM.c.worker, _CLAIM.c.lease_expires).where(*_mine))
_give_up = Statement(delete(_CLAIM).where(*_mine, _CLAIM.c.worker == bindparam("of")))
_hold = Statement(
    update(_CLAIM)
    .where(*_mine, _CLAIM.c.worker == bindparam("of"))
    .values(lease_expires=bindparam("lease_expires"))
)
_take = Statement(
    insert(_CLAIM).values({name: bindparam(name) for name in ("study_id", "kind", "worker", "lease_expires")})
)


def put_machine(link: Link, info: Mapping[str, Any]) -> int:
    """The id of a machine, stored at the first time; `info["fingerprint"]` names it.

    Raises:
        StoreError: there is no fingerprint.
    """
    fingerprint = info.get("fingerprint")
    if not isinstance(fingerprint, str):
        raise StoreError(f"a machine needs a fingerprint; got only {', '.join(info) or 'nothing'}")
    link.change(_put_machine, fingerprint=fingerprint, info=canonical_json(dict(info)))
    return int(link.rows(_machine_id, at=fingerprint)[0][0])


def put_artefact(link: Link, study_id: int, origin_id: int, artefact: ArtefactRecord) -> None:
    """Store a file's row; a newer file of the same kind and origin takes its place."""
    values = {"path": artefact.path, "content_hash": artefact.content_hash, "created": time.time()}
    if not link.change(_replace, at=study_id, named=artefact.kind, of=origin_id, **values):
        link.change(_add, study_id=study_id, kind=artefact.kind, origin_id=origin_id, **values)


def find_artefact(link: Link, study_id: int, kind: str, origin_hash: str) -> ArtefactRecord | None:
    """The file of a kind and origin."""
    row = link.row(_one, at=study_id, named=kind, of=origin_hash)
    return None if row is None else _record(row)


def _record(row: Row) -> ArtefactRecord:
    kind, path, digest, content, origin_hash, created = row
    return ArtefactRecord(
        kind, path, digest, json.loads(content), origin_hash, datetime.fromtimestamp(created, UTC)
    )


def take_claim(link: Link, study_id: int, kind: str, worker: str, lease_seconds: float) -> bool:
    """Claim a long job; False while another living worker has it."""
    now = time.time()
    row = link.row(_holder, at=study_id, named=kind)
    if row is not None:
        holder, expires = row
        if holder != worker and is_alive(holder, expires, now):
            return False
        give_up_claim(link, study_id, kind, holder)
    link.change(_take, study_id=study_id, kind=kind, worker=worker, lease_expires=now + lease_seconds)
    return True


def hold_claim(link: Link, study_id: int, kind: str, worker: str, lease_seconds: float) -> bool:
    """Keep a claim for longer; False if another worker has it by now."""
    until = time.time() + lease_seconds
    return bool(link.change(_hold, at=study_id, named=kind, of=worker, lease_expires=until))


def give_up_claim(link: Link, study_id: int, kind: str, worker: str) -> None:
    """Give a claim up, if this worker has it."""
    link.change(_give_up, at=study_id, named=kind, of=worker)
