"""The format `onnx`: one file with the weights inside, for any run time that reads ONNX."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from nasplat.errors import ExportError, MissingExtra
from nasplat.export.network import Network, first_line
from nasplat.files import write_atomic

USAGE = """```python
import onnxruntime
session = onnxruntime.InferenceSession("network.onnx", providers=["CPUExecutionProvider"])
(outputs,) = session.run(None, {{"x": inputs}})  # inputs: NumPy array {inputs}, any n
```"""

PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def require_onnx() -> None:
    """MissingExtra, with the command to type, where a package for ONNX is not installed."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtra(f"the format onnx needs {', '.join(missing)}: pip install 'nasplat[onnx]'")


def write_onnx(network: Network, folder: Path, architecture: Any) -> list[str]:
    """Write `network.onnx`, with a free batch size, to a folder and check it; its name."""
    import onnx

    try:
        with _quiet():
            program = torch.onnx.export(
                network.traced,
                (network.example,),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
                input_names=["x"],
                output_names=["y"],
                verbose=False,
            )
        model = program.model_proto if program is not None else onnx.ModelProto()
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:
        raise ExportError(f"torch.onnx cannot export this network: {first_line(error)}") from error
    write_atomic(folder / "network.onnx", model.SerializeToString())
    return ["network.onnx"]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch.onnx says on every export, whatever the network."""
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registration.level
    registration.setLevel(logging.ERROR)  # "torchvision is not installed": we never use it
    try:
        with warnings.catch_warnings():
            # torch 2.13 copies pytree specs by their deprecated class (copyreg)
            warnings.filterwarnings(
                "ignore", message=r"`isinstance\(treespec, LeafSpec\)`", category=FutureWarning
            )
            yield
    finally:
        registration.setLevel(level)
