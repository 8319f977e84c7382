"""A database: one connection per thread, statements compiled once, transactions that wait for their turn.

Statements are written in SQLAlchemy Core, compiled to text for the dialect at their first use and then run on
the driver's own cursor: with 20 parameters per trial the difference is a factor of four.
SQLite runs in WAL mode with `synchronous=NORMAL`: a killed process loses nothing that was committed, a power
failure may lose the last transactions, and neither ever corrupts the file.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any
from weakref import WeakSet

from sqlalchemy import ClauseElement, Engine, Insert, Table, bindparam, create_engine, event
from sqlalchemy.engine import URL, Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool
from sqlalchemy.sql.compiler import SQLCompiler

from nasplat.errors import StoreError

Row = tuple[Any, ...]
BUSY_SECONDS = 30


class Statement:
    """A Core statement, compiled once per dialect. Its parameters are the names of its `bindparam`s."""

    def __init__(self, construct: ClauseElement | Callable[[str], ClauseElement]) -> None:
        self._construct = construct
        self._texts: dict[str, tuple[str, dict[str, Any]]] = {}

    def text(self, dialect: Dialect) -> tuple[str, dict[str, Any]]:
        """SQL text and the constants in it."""
        known = self._texts.get(dialect.name)
        return known or self._texts.setdefault(dialect.name, self._compile(dialect))

    def _compile(self, dialect: Dialect) -> tuple[str, dict[str, Any]]:
        construct = self._construct
        if not isinstance(construct, ClauseElement):
            construct = construct(dialect.name)
        compiled = construct.compile(dialect=dialect)
        assert isinstance(compiled, SQLCompiler)
        return str(compiled), {k: bind.value for k, bind in compiled.binds.items() if not bind.required}


def insert_missing(table: Table, names: Iterable[str]) -> Statement:
    """An insert that does nothing where a row with the same key exists."""
    values: dict[str, Any] = {name: bindparam(name) for name in names}

    def build(dialect: str) -> Insert:
        return _insert_of(dialect)(table).values(values).on_conflict_do_nothing()  # type: ignore[no-any-return]

    return Statement(build)


@cache
def _insert_of(dialect: str) -> Any:
    if dialect == "sqlite":
        from sqlalchemy.dialects import sqlite

        return sqlite.insert
    from sqlalchemy.dialects import postgresql

    return postgresql.insert


class Link:
    """One connection of one thread."""

    def __init__(self, engine: Engine) -> None:
        self.pid = os.getpid()
        self.depth = 0
        self.dialect = engine.dialect
        self._fairy = engine.raw_connection()
        self._cursor: Any = self._fairy.cursor()

    def command(self, sql: str) -> None:
        """Run a statement that takes and gives nothing."""
        self._cursor.execute(sql)

    def rows(self, statement: Statement, /, **params: Any) -> list[Row]:
        """Run a statement and fetch all that it gives."""
        sql, constants = statement.text(self.dialect)
        cursor = self._cursor
        cursor.execute(sql, {**constants, **params} if constants else params)
        return cursor.fetchall()  # type: ignore[no-any-return]

    def row(self, statement: Statement, /, **params: Any) -> Row | None:
        """The first row that a statement gives."""
        rows = self.rows(statement, **params)
        return rows[0] if rows else None

    def change(self, statement: Statement, /, **params: Any) -> int:
        """Run a statement that changes rows; how many it changed."""
        sql, constants = statement.text(self.dialect)
        self._cursor.execute(sql, {**constants, **params} if constants else params)
        return int(self._cursor.rowcount)

    def change_each(self, statement: Statement, rows: Iterable[Mapping[str, Any]]) -> None:
        """Run a statement once for each set of parameters."""
        sql, constants = statement.text(self.dialect)
        self._cursor.executemany(sql, [{**constants, **row} for row in rows])

    def close(self) -> None:
        """Give the connection back."""
        self._cursor.close()
        self._fairy.close()


class Database:
    """Connections to one database; safe to share between threads, and usable again after a fork."""

    def __init__(self, url: URL) -> None:
        self.url = url
        self.engine = make_engine(url)
        self._begin = "BEGIN IMMEDIATE" if self.engine.dialect.name == "sqlite" else "BEGIN"
        self._snapshot = "BEGIN" if self.engine.dialect.name == "sqlite" else _POSTGRES_SNAPSHOT
        dbapi: Any = self.engine.dialect.loaded_dbapi
        self._error: type[Exception] = dbapi.Error
        self._bugs = (dbapi.IntegrityError, dbapi.ProgrammingError)  # ours, not the user's
        self._local = threading.local()
        self._links: WeakSet[Link] = WeakSet()  # a thread that ends drops its connection
        self._inherited: list[Link] = []
        self.on_rollback: Callable[[], None] = lambda: None

    @property
    def link(self) -> Link:
        """This thread's connection, opened at its first use."""
        link: Link | None = getattr(self._local, "link", None)
        if link is None or link.pid != os.getpid():
            if link is not None:  # it must not cross a fork: kept, unused, for the parent to close
                self._inherited.append(link)
            link = self._local.link = self._connect()
            self._links.add(link)
        return link

    def _connect(self) -> Link:
        try:
            return Link(self.engine)
        except DBAPIError as error:
            raise StoreError(explain(self.url, error)) from error

    @contextmanager
    def transaction(self) -> Iterator[Link]:
        """One writing transaction: committed when the block ends, rolled back when it raises.

        A transaction inside another one is part of it.
        """
        link = self.link
        if link.depth:
            yield link
            return
        link.depth = 1
        try:
            link.command(self._begin)
            yield link
            link.command("COMMIT")
        except BaseException as error:  # Ctrl-C too
            self._roll_back(link)
            self._raise_in_one_line(error)
            raise
        finally:
            link.depth = 0

    def _roll_back(self, link: Link) -> None:
        with suppress(self._error):  # there is nothing to roll back where BEGIN failed, or after a full disk
            link.command("ROLLBACK")
        self.on_rollback()

    @contextmanager
    def snapshot(self) -> Iterator[Link]:
        """Several reads of one moment."""
        link = self.link
        if link.depth:
            yield link
            return
        try:
            link.command(self._snapshot)
            yield link
            link.command("COMMIT")
        except BaseException as error:
            with suppress(self._error):
                link.command("ROLLBACK")
            self._raise_in_one_line(error)
            raise

    def _raise_in_one_line(self, error: BaseException) -> None:
        if isinstance(error, self._error) and not isinstance(error, self._bugs):
            raise StoreError(explain(self.url, error)) from error

    def close_thread(self) -> None:
        """Close this thread's connection; the next use opens another."""
        link: Link | None = getattr(self._local, "link", None)
        if link is not None and link.pid == os.getpid():
            self._links.discard(link)
            link.close()
        self._local.link = None

    def close(self) -> None:
        """Close every connection of this process."""
        for link in [link for link in self._links if link.pid == os.getpid()]:
            link.close()
        self._links.clear()
        self._local = threading.local()


_POSTGRES_SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


def explain(url: URL, error: Exception) -> str:
    """One line about a database that refused."""
    where = url.database if url.drivername == "sqlite" else url.render_as_string(hide_password=True)
    reason = " ".join(str(getattr(error, "orig", None) or error).split())
    hint = "check that the file and its folder can be written and that the disk is not full"
    if "locked" in reason:
        hint = f"another process has held it for {BUSY_SECONDS} s: stop that one, or try again"
    elif "malformed" in reason or "not a database" in reason:
        hint = "the file is damaged: restore a copy, or name another store"
    elif url.drivername != "sqlite":
        hint = "check that the server runs and that the address is right"
    return f"store {where}: {reason}; {hint}"


def make_engine(url: URL) -> Engine:
    """An engine in the driver's autocommit mode: transactions begin and end by explicit statements."""
    if url.drivername == "sqlite":
        arguments = {"timeout": BUSY_SECONDS, "check_same_thread": False}
        engine = create_engine(url, poolclass=NullPool, paramstyle="named", connect_args=arguments)
        event.listen(engine, "connect", _prepare_sqlite)
        return engine
    return create_engine(url, poolclass=NullPool, connect_args={"autocommit": True})


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # autocommit: the driver begins nothing by itself
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA wal_autocheckpoint = 4000")  # pages: 16 MB between two syncs to the disk
    connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
