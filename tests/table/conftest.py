from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def published(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The published tables, where they are."""
    if not (real_data / "nb201").is_dir():
        pytest.skip(f"no published tables at {real_data}")
    monkeypatch.setenv("NASPLAT_DATA", str(real_data))
    return real_data
