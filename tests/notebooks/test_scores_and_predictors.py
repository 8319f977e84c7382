"""The notebook of scores and predictors runs from top to bottom: it scores, trains, learns, shows calibration."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]


def test_the_notebook_scores_a_space_and_fits_a_predictor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NASPLAT_TRAINED", "14")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(ROOT / "notebooks" / "scores_and_predictors.ipynb", as_version=4)
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute(cwd=str(tmp_path))
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [output for output in shown if "image/png" in output.get("data", {})]
    told = "".join(output.get("data", {}).get("text/plain", "") for output in shown)
    assert len(pictures) == 2, "agreement and calibration are drawn"
    assert "kendall_tau" in told, "the card tells how good the predictor is"
    assert "log_rank" in told, "aggregates are compared"
