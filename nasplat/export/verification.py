"""Exported files against the network they came from: reloaded in a fresh process without nasplat."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from nasplat.data import Task
from nasplat.errors import ExportError
from nasplat.export.network import BATCH

TOLERANCE = 1e-4
_ROUNDING = 1e-5
_SECONDS = 1800


@dataclass(frozen=True, slots=True, eq=False)
class Validation:
    """What every exported file must reproduce: inputs (n, ...), targets (n, ...), outputs (n, ...)."""

    inputs: Tensor
    targets: Tensor
    outputs: Tensor
    task: Task

    def value(self, outputs: Tensor) -> float:
        """The task's score of some outputs."""
        return float(self.task.score(outputs, self.targets))


@dataclass(frozen=True, slots=True)
class Reproduction:
    """What one reloaded format gave: the largest absolute difference of an output, and the validation metric."""

    drift: float
    value: float


def verify(folder: Path, formats: Sequence[str], validation: Validation) -> dict[str, Reproduction]:
    """Reload every format in one fresh process and compare it with what is expected; ExportError if it differs.

    All inputs in batches and the first one alone: outputs to 1e-4 absolute (float32), and the metric equal. Equal is
    to a relative rounding of 1e-5: exact for a share of up to 100,000 examples, possible for a mean of real numbers.
    """
    outputs = _reload(folder, formats, validation.inputs)
    return {
        name: _compare(name, outputs[f"{name}.all"], outputs[f"{name}.one"], validation) for name in formats
    }


def _compare(name: str, outputs: Tensor, one: Tensor, validation: Validation) -> Reproduction:
    if outputs.shape != validation.outputs.shape or one.shape != validation.outputs[:1].shape:
        shapes = f"{tuple(outputs.shape)}, and {tuple(one.shape)} for one input"
        raise ExportError(f"the exported {name} gives outputs of other shapes: {shapes}")
    drift = max(_difference(outputs, validation.outputs), _difference(one, validation.outputs[:1]))
    if not drift <= TOLERANCE:
        raise ExportError(
            f"the exported {name} gives other outputs: off by {drift:.3g}, allowed are {TOLERANCE:g}"
        )
    value, expected = validation.value(outputs), validation.value(validation.outputs)
    if not math.isclose(value, expected, rel_tol=_ROUNDING):
        metric = validation.task.metric
        raise ExportError(f"the exported {name} has {metric} {value:.6g}, the network had {expected:.6g}")
    return Reproduction(drift, value)


def _difference(outputs: Tensor, expected: Tensor) -> float:
    """Largest absolute difference; NaN where one of them has a NaN."""
    return float((outputs.float() - expected.float()).abs().max())


def _reload(folder: Path, formats: Sequence[str], inputs: Tensor) -> dict[str, Tensor]:
    with tempfile.TemporaryDirectory(prefix="nasplat-export-") as name:
        scratch = Path(name)
        safetensors.torch.save_file({"inputs": inputs}, scratch / "inputs.safetensors")
        job = {
            "folder": str(folder.resolve()),
            "formats": list(formats),
            "inputs": str(scratch / "inputs.safetensors"),
            "outputs": str(scratch / "outputs.safetensors"),
            "batch": BATCH,
            "threads": torch.get_num_threads(),
        }
        (scratch / "job.json").write_text(json.dumps(job))
        _run(scratch / "job.json")
        return safetensors.torch.load_file(scratch / "outputs.safetensors")


def _run(job: Path) -> None:
    command = [sys.executable, "-I", str(Path(__file__).with_name("reload.py")), str(job)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_SECONDS, cwd=job.parent, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ExportError(f"the exported files gave no outputs within {_SECONDS} seconds") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise ExportError(f"the exported files do not run in a fresh process: {lines[-1]}")
