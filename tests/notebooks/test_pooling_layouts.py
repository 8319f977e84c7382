"""The notebook of pooling layouts runs from top to bottom: it trains, searches, draws strips and exports."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
SMALLER = {
    "trials = 10": "trials = 3",
    "noise = 0.2": "noise = 0.2\ncopies = 1",
    "epochs = 16": "epochs = 1\nbatch_size = 128",
    "probe_every = 4": "probe_every = 1",
    "batch = 32": "batch = 1",
}


@pytest.fixture
def small_study(tmp_path: Path) -> Path:
    """The study of pooling layouts on less data, trained for an epoch and searched for three trials; not run yet."""
    page = tmp_path / "study.toml"
    shutil.copy(ROOT / "studies" / "pooling_digits" / "study.toml", page)
    text = page.read_text()
    for full, smaller in SMALLER.items():
        assert full in text
        text = text.replace(full, smaller)
    page.write_text(text)
    return tmp_path


def test_the_notebook_draws_every_layout_as_a_strip_with_its_expert(
    small_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NASPLAT_STUDY", str(small_study))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(ROOT / "notebooks" / "pooling_layouts.ipynb", as_version=4)
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute(cwd=str(small_study))
    shown = {cell["source"]: cell.get("outputs", []) for cell in notebook.cells}
    texts = {
        source: "".join(o.get("text", "") + o.get("data", {}).get("text/plain", "") for o in outputs)
        for source, outputs in shown.items()
    }
    drawn = [s for s, outputs in shown.items() if any("image/png" in o.get("data", {}) for o in outputs)]
    assert ["plot_layouts(" in source for source in drawn] == [True, False], "the strips, then the front"
    (load,) = [text for source, text in texts.items() if "pivot_table" in source]
    assert "experts.3" in load, "every expert has its steps"
    (source,) = [text for code, text in texts.items() if "study.export" in code]
    assert source.count("nn.MaxPool2d(2, ceil_mode=True)") == 2, "the exported network down-samples twice"
