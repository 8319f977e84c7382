"""A store in a temporary folder, and the small study that most tests use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nasplat.store import SpaceRecord, Store, StudyRecord

FLOAT = '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}'
SPACE = SpaceRecord("hash-of-space", "toy", {"choices": ["depth"]})
STUDY = StudyRecord("toy", ("maximize", "minimize"), ("accuracy", "latency"), SPACE, {"x": FLOAT}, {}, 7)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open("sqlite:///study.db", base=tmp_path) as store:
        yield store


@pytest.fixture
def study_id(store: Store) -> int:
    return store.create_study(STUDY)


@pytest.fixture
def study() -> StudyRecord:
    return STUDY
