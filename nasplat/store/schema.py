"""Opening a database: where it is, whether it is a store, and bringing it to the schema of this version."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, inspect, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError

from nasplat.errors import MissingExtra, StoreError
from nasplat.store import migrations
from nasplat.store.database import Database, explain

_MAGIC = b"SQLite format 3\x00"
_EXAMPLE = "write sqlite:///study.db, or postgresql+psycopg://user@host/name"
MIGRATIONS = Path(migrations.__file__).parent


def open_database(url: str, base: Path | None, create: bool) -> Database:
    """A database that holds the tables of this version; created or upgraded where needed.

    Raises:
        StoreError: in one line, with nothing changed, where that is not possible.
    """
    place = locate(url, base)
    if place.drivername == "sqlite":
        _check_file(Path(place.database or ""), create)
    try:
        database = Database(place)
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise MissingExtra(f"{url} needs a driver: pip install 'psycopg[binary]'") from error
    try:
        _prepare(database, create)
    except DatabaseError as error:
        raise StoreError(explain(place, error)) from error
    return database


def locate(url: str, base: Path | None) -> URL:
    """The address of a database; a relative SQLite path begins at `base`."""
    try:
        place = make_url(url)
    except ArgumentError:
        raise StoreError(f"store {url!r} is no database address; {_EXAMPLE}") from None
    if place.drivername in ("postgresql", "postgresql+psycopg"):
        return place.set(drivername="postgresql+psycopg")
    if place.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise StoreError(f"store {url!r}: {place.drivername} is not supported; {_EXAMPLE}")
    if place.database in (None, "", ":memory:"):
        raise StoreError(f"store {url!r} names no file, and what is in memory is lost; {_EXAMPLE}")
    path = (base or Path.cwd()) / Path(str(place.database)).expanduser()
    return place.set(drivername="sqlite", database=str(path.absolute()))


def _check_file(path: Path, create: bool) -> None:
    if path.is_dir():
        raise StoreError(f"store {path} is a folder; name a file in it, such as {path / 'study.db'}")
    if not path.exists():
        _check_absent(path, create)
        return
    with _one_line(path), path.open("rb") as file:
        head = file.read(len(_MAGIC))
    if head and head != _MAGIC:
        raise StoreError(f"store {path} is not an SQLite database; name another file, or move this one away")
    if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        raise StoreError(f"store {path} is read-only; copy it to a folder where you can write")


def _check_absent(path: Path, create: bool) -> None:
    if not create:
        raise StoreError(f"store {path} does not exist; check the path, or start with `nasplat run`")
    with _one_line(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(path.parent, os.W_OK):
        raise StoreError(f"store {path}: the folder is read-only; name a store where you can write")


class _one_line:  # noqa: N801  (reads as a verb where it is used)
    """Turn an operating system's error about a path into one line."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None: ...

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, OSError):
            reason = error.strerror or error
            raise StoreError(f"store {self.path}: {reason}; name a file that can be written") from error


def _prepare(database: Database, create: bool) -> None:
    with database.engine.connect() as connection:
        version = read_version(connection)
    known = migrations.REVISIONS
    if version == known[-1]:
        return
    place = database.url.render_as_string(hide_password=True)
    if version is None and not create:
        raise StoreError(f"store {place} holds no studies of nasplat; check the path")
    if version is not None and version not in known:
        raise StoreError(
            f"store {place} has schema {version}, this nasplat knows up to {known[-1]}; install a newer nasplat"
        )
    if version is not None and database.url.drivername == "sqlite":
        back_up(Path(str(database.url.database)), version)
    _upgrade(database)


def read_version(connection: Connection) -> str | None:
    """The schema revision of a database, None where there is no store in it."""
    if not inspect(connection).has_table(migrations.VERSION_TABLE):
        return None
    version = connection.execute(text(f"SELECT version_num FROM {migrations.VERSION_TABLE}")).scalar()
    return None if version is None else str(version)


def back_up(path: Path, version: str) -> Path:
    """Copy a SQLite store beside itself, whole even while others use it; the copy's path."""
    copy = path.with_name(f"{path.name}.schema-{version}.backup")
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    return copy


def _upgrade(database: Database) -> None:
    """Apply the missing revisions in one transaction; of several processes one does it, the others wait."""
    with database.engine.connect() as connection:
        if database.url.drivername == "sqlite":
            connection.exec_driver_sql("PRAGMA page_size = 2048")  # half as much to write for a small change
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.exec_driver_sql("BEGIN")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        try:
            migrate(connection)
            connection.exec_driver_sql("COMMIT")
        except BaseException:
            connection.exec_driver_sql("ROLLBACK")
            raise


def migrate(connection: Connection, target: str = "head") -> None:
    """Run Alembic on a connection, inside the transaction that it is in."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, target)


_LOCK = 7_310_894_561  # any number that only nasplat uses
