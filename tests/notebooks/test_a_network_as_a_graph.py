"""The notebook of networks as graphs runs from top to bottom: it traces, draws, permutes, trains a zoo, predicts."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]


def test_the_notebook_traces_permutes_and_predicts_from_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NASPLAT_NETWORKS", "32")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(ROOT / "notebooks" / "a_network_as_a_graph.ipynb", as_version=4)
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute(cwd=str(tmp_path))
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [output for output in shown if "image/png" in output.get("data", {})]
    told = "\n".join(o.get("text", "") + o.get("data", {}).get("text/plain", "") for o in shown)
    assert len(pictures) == 3, "rows of channels, neurons and predictions are drawn"
    assert "6 of them free to permute" in told, "the trace is shown"
    assert "frozen: cumsum at cumsum" in told, "what is frozen is told with its reason"
    assert "graphs equal: True" in told, "the permuted graph is that of the permuted network"
    assert "kendall_tau" in told, "predictions are judged"
