"""Optuna's own storage tests, on our tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from optuna.testing.pytest_storages import StorageTestCase

from nasplat.store import OptunaStorage


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[OptunaStorage]:
    storage = OptunaStorage("sqlite:///optuna.db", base=tmp_path)
    yield storage
    storage.close()


class TestPublicStorageCases(StorageTestCase):
    """Every case that Optuna asks of a storage."""
