"""What every test shares: quiet threads and the place of the real data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes that tests start


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets; the test skips where it is absent."""
    root = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("NASPLAT_DATA", root.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set NASPLAT_DATA to its folder")
    return folder
