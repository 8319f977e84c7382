"""The notebook runs from top to bottom on a study like the demo's."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from nasplat import open_study

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def small_quickstart(tmp_path: Path) -> Path:
    """The quickstart study, trained for one epoch and searched for eight trials."""
    page = tmp_path / "study.toml"
    shutil.copy(ROOT / "studies" / "quickstart" / "study.toml", page)
    page.write_text(page.read_text().replace("epochs = 5", "epochs = 1\nbatch_size = 256"))
    open_study(page).run(8, device="cpu")
    return tmp_path


def test_the_notebook_shows_the_front_and_exports_the_knee(
    small_quickstart: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NASPLAT_STUDY", str(small_quickstart))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(ROOT / "notebooks" / "browse_a_study.ipynb", as_version=4)
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute(cwd=str(small_quickstart))
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    kinds = {kind for output in shown for kind in output.get("data", {})}
    assert {"text/html", "image/png"} <= kinds, "tables and pictures are shown"
    html = "".join(o["data"]["text/html"] for o in shown if "text/html" in o.get("data", {}))
    assert "<svg" in html, "the network is drawn"
    assert "class Network(nn.Module)" in "".join(o.get("text", "") for o in shown), "the source is printed"
