"""Opening a store: created, found, upgraded after a copy, or refused in one line with nothing changed."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import optuna
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from nasplat.errors import StoreError
from nasplat.store import (
    EvaluationRecord,
    ObservationRecord,
    Outcome,
    Proposal,
    SpaceRecord,
    Store,
    StudyRecord,
    database,
    migrations,
    schema,
)
from nasplat.store.tables import Base

URL = "sqlite:///study.db"


def refused(tmp_path: Path, message: str, url: str = URL, create: bool = True) -> None:
    with pytest.raises(StoreError, match=message) as caught:
        Store.open(url, base=tmp_path, create=create)
    assert "\n" not in str(caught.value)


def test_store_remembers_its_studies(store: Store, study: StudyRecord, study_id: int) -> None:
    assert store.create_study(study) == study_id
    with Store.open(store.url) as other:
        found = other.find_study("toy")
        assert found == replace(study, id=study_id, distributions={})
        assert other.studies() == [found]
        assert other.find_study("none") is None


def test_a_name_belongs_to_one_space_and_its_objectives(
    store: Store, study: StudyRecord, study_id: int
) -> None:
    others = [
        replace(study, space=SpaceRecord("other-hash", "toy", {})),
        replace(study, space=None),
        replace(study, objectives=("accuracy", "params")),
        replace(study, directions=("minimize", "minimize")),
        replace(study, directions=("maximize",), objectives=("accuracy",)),
    ]
    for other in others:
        with pytest.raises(StoreError, match="choose another name or another store"):
            store.create_study(other)
    assert store.create_study(replace(study, name="other", space=None)) != study_id


def test_configuration_may_change_until_the_first_trial(
    store: Store, study: StudyRecord, study_id: int
) -> None:
    for config in ({"epochs": 1}, {"epochs": 2}):
        assert store.create_study(replace(study, config=config)) == study_id
        found = store.find_study("toy")
        assert found is not None
        assert found.config == config
    assert store.enqueue(study_id, Proposal({"x": 0.5}, {"depth": 0}, "k")) == 0
    assert store.create_study(replace(study, config={"epochs": 3})) == study_id
    assert store.studies()[0].config == {"epochs": 2}


def test_migrations_and_tables_give_the_same_schema(tmp_path: Path, store: Store) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'tables.db'}")
    Base.metadata.create_all(engine)
    assert _schema(tmp_path / "tables.db") == _schema(tmp_path / "study.db")
    with store._database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": migrations.VERSION_TABLE})
        assert compare_metadata(context, Base.metadata) == []
    assert ScriptDirectory(str(schema.MIGRATIONS)).get_heads() == [migrations.REVISIONS[-1]]


def _schema(path: Path) -> dict[str, list[str]]:
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    connection.close()
    ours = {name: sql for name, sql in rows if "nasplat" in name and name != migrations.VERSION_TABLE}
    return {name: sorted(line.strip(" ,\t") for line in sql.splitlines()) for name, sql in ours.items()}


def test_an_older_store_is_copied_and_upgraded(
    tmp_path: Path, study: StudyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(URL, base=tmp_path) as store:
        study_id = store.create_study(study)
    newer = tmp_path / "migrations"
    shutil.copytree(schema.MIGRATIONS, newer, ignore=shutil.ignore_patterns("__pycache__"))
    last = migrations.REVISIONS[-1]
    (newer / "versions" / "9999_next.py").write_text(
        "import sqlalchemy as sa\nfrom alembic import op\n"
        f"revision, down_revision, branch_labels, depends_on = '9999', '{last}', None, None\n"
        "def upgrade():\n    op.add_column('nasplat_study', sa.Column('extra', sa.Text()))\n"
    )
    monkeypatch.setattr(schema, "MIGRATIONS", newer)
    monkeypatch.setattr(migrations, "REVISIONS", (*migrations.REVISIONS, "9999"))
    with Store.open(URL, base=tmp_path) as store:
        assert store.create_study(study) == study_id
    backup = sqlite3.connect(tmp_path / f"study.db.schema-{last}.backup")
    assert backup.execute("SELECT name FROM nasplat_study").fetchall() == [("toy",)]
    assert "extra" not in str(backup.execute("SELECT sql FROM sqlite_master").fetchall())
    backup.close()
    monkeypatch.undo()
    before = (tmp_path / "study.db").read_bytes()
    refused(tmp_path, f"schema 9999, this nasplat knows up to {last}; install a newer nasplat")
    assert (tmp_path / "study.db").read_bytes() == before


def test_a_store_of_the_first_schema_is_upgraded_and_keeps_everything(
    tmp_path: Path, study: StudyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as past:
        past.setattr(migrations, "REVISIONS", ("0001",))
        past.setattr(schema, "migrate", partial(schema.migrate, target="0001"))
        with Store.open(URL, base=tmp_path) as store:
            study_id = fill(store, study)
    before = rows(tmp_path / "study.db")
    assert "nasplat_observation" not in before
    assert all(before[table] for table in before if "distribution" not in table), (
        "a table without a row proves little"
    )
    with Store.open(URL, base=tmp_path) as store:
        assert rows(tmp_path / "study.db") == before | {"nasplat_observation": []}
        store.observe(study_id, {"weights": 1}, [ObservationRecord("norm_drift", 1, {"mean_shift": 0.5})])
        assert [seen.values for seen in store.observations(study_id)] == [{"mean_shift": 0.5}]
    assert rows(tmp_path / "study.db.schema-0001.backup") == before


def fill(store: Store, study: StudyRecord) -> int:
    """A study with a row in every table."""
    study_id = store.create_study(study)
    with store.asking(study_id, "far:1:a", lease_seconds=60) as turn:
        ticket = turn.create(Proposal({"x": 0.5}, {"depth": 0}, "k"))
        turn.set_study_attrs({"seen": 1})
    latency = EvaluationRecord("latency", 1.5, "ms", {"device": "a"})
    outcome = Outcome("complete", (0.5, 1.5), evaluations=[latency], intermediate={1: 0.25})
    assert store.tell(study_id, ticket, outcome)
    store.machine({"fingerprint": "f"})
    store.put_artefact(study_id, "supernet", "weights.safetensors", "hash", {"method": "sandwich"})
    assert store.claim(study_id, "supernet", "far:1:a", 60)
    return study_id


def rows(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """The content of all our tables, but for the number of the schema."""
    connection = sqlite3.connect(path)
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    ours = [n for n in names if n.startswith("nasplat_") and n != migrations.VERSION_TABLE]
    found = {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in ours}
    connection.close()
    return found


def test_a_failed_upgrade_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(connection: object) -> None:
        raise RuntimeError("half way")

    monkeypatch.setattr(schema, "migrate", fail)
    with pytest.raises(RuntimeError):
        Store.open(URL, base=tmp_path)
    monkeypatch.undo()
    with Store.open(URL, base=tmp_path) as store:
        assert store.studies() == []


def test_our_tables_live_beside_those_of_optuna(tmp_path: Path, study: StudyRecord) -> None:
    theirs = optuna.storages.RDBStorage(f"sqlite:///{tmp_path / 'study.db'}")
    optuna.create_study(storage=theirs, study_name="theirs")
    with Store.open(URL, base=tmp_path) as store:
        store.create_study(study)
    assert optuna.get_all_study_names(theirs) == ["theirs"]
    theirs.remove_session()
    theirs.engine.dispose()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    path.write_text("trials = 50\n" * 400)
    refused(tmp_path, "is not an SQLite database; name another file")
    assert path.read_text() == "trials = 50\n" * 400
    assert list(tmp_path.iterdir()) == [path]


def test_a_damaged_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_bytes(b"SQLite format 3\x00" + bytes(range(256)) * 20)
    refused(tmp_path, "the file is damaged")


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    (tmp_path / "study.db").touch()
    Store.open(URL, base=tmp_path).close()


def test_a_missing_store_is_not_made_when_it_is_only_read(tmp_path: Path) -> None:
    refused(tmp_path, "does not exist", create=False)
    assert list(tmp_path.iterdir()) == []
    sqlite3.connect(tmp_path / "study.db").execute("CREATE TABLE other (id)").connection.close()
    refused(tmp_path, "holds no studies of nasplat", create=False)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "study.db").mkdir()
    refused(tmp_path, "is a folder")


def test_a_place_where_nobody_can_write_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, "store /proc/nasplat/study.db", url="sqlite:////proc/nasplat/study.db")
    refused(tmp_path, "store /proc/study.db", url="sqlite:////proc/study.db")


def test_a_read_only_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store.open(URL, base=tmp_path).close()
    path = tmp_path / "study.db"
    before = path.read_bytes()
    path.chmod(0o444)
    if os.geteuid() == 0:  # permissions do not stop this user
        monkeypatch.setattr(os, "access", lambda *_: False)
    refused(tmp_path, "is read-only; copy it")
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("study.db", "is no database address; write sqlite:///study.db"),
        ("mysql://host/name", "mysql is not supported"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
    ],
)
def test_an_address_that_is_none_is_refused(tmp_path: Path, url: str, message: str) -> None:
    refused(tmp_path, message, url=url)


def test_a_locked_store_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, study: StudyRecord) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0)
    with Store.open(URL, base=tmp_path) as store:
        holder = sqlite3.connect(tmp_path / "study.db", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="another process has held it"):
            store.create_study(study)
        holder.execute("ROLLBACK")
        holder.close()
        assert store.create_study(study)


def test_a_full_disk_is_one_line_and_loses_nothing(store: Store, study_id: int) -> None:
    link = store._database.link
    (pages,) = link._cursor.execute("PRAGMA page_count").fetchone()
    link.command(f"PRAGMA max_page_count = {pages + 2}")
    with store.asking(study_id, "far:1:a", lease_seconds=60) as turn:
        ticket = turn.create(Proposal({}, {"depth": 0}, "k"))
    with pytest.raises(StoreError, match="disk is full"):
        store.tell(study_id, ticket, Outcome("failed", error="x" * 100_000))
    assert [trial.state for trial in store.trials(study_id)] == ["running"]
    assert store.tell(study_id, ticket, Outcome("failed", error="short"))


def test_importing_the_store_loads_neither_torch_nor_optuna_nor_alembic(tmp_path: Path) -> None:
    Store.open(URL, base=tmp_path).close()
    code = (
        "import sys; from nasplat.store import Store; "
        f"Store.open({URL!r}, base=__import__('pathlib').Path({str(tmp_path)!r})).studies(); "
        "print(sorted({'torch', 'optuna', 'alembic', 'matplotlib'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
