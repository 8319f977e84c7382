"""The notebook of pruning runs from top to bottom: it plans, draws, cuts, finetunes and measures."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]


def test_the_notebook_plans_cuts_and_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NASPLAT_EPOCHS", "2")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(ROOT / "notebooks" / "prune_a_network.ipynb", as_version=4)
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute(cwd=str(tmp_path))
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [output for output in shown if "image/png" in output.get("data", {})]
    told = "\n".join(o.get("text", "") + o.get("data", {}).get("text/plain", "") for o in shown)
    assert len(pictures) == 2, "widths before and after, and accuracies are drawn"
    assert "(3.0" in told, "the plan meets its target and says so"
    assert "finetuned" in told, "accuracies before and after finetuning are shown"
    assert "All keys matched" in told, "weights of the pruned network fit the plan on a fresh one"
    assert "tied" in told, "what hangs together is cut together"
