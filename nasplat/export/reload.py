"""The other side of an export: loads the files of a bundle where nasplat does not exist, and runs them.

Run by path in a fresh isolated process: `python -I reload.py JOB.json`. The job names the folder, the formats, a
file of inputs and a file for outputs (safetensors), the batch size and the number of threads. It must import nothing
of nasplat, and proves it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.dont_write_bytecode = True  # a bundle holds what was exported, nothing else
sys.modules["nasplat"] = None  # type: ignore[assignment]  # from here on, importing it is an ImportError

import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from torch import Tensor  # noqa: E402

Run = Callable[[Tensor], Tensor]


def load_state(folder: Path, threads: int) -> Run:
    """As the README of a bundle says it: `from network import load`."""
    sys.path.insert(0, str(folder))
    from network import load  # type: ignore[import-not-found]

    network: Run = load()
    return network


def load_program(folder: Path, threads: int) -> Run:
    """The program of torch.export."""
    network: Run = torch.export.load(folder / "network.pt2").module()
    return network


def load_onnx(folder: Path, threads: int) -> Run:
    """The ONNX model in onnxruntime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        str(folder / "network.onnx"), options, providers=["CPUExecutionProvider"]
    )
    return lambda inputs: torch.from_numpy(session.run(None, {"x": inputs.numpy()})[0])


LOADERS: dict[str, Callable[[Path, int], Run]] = {"state": load_state, "pt2": load_program, "onnx": load_onnx}


def refuse_nasplat() -> None:
    """End the process if nasplat can be imported or has been."""
    try:
        __import__("nasplat")
    except ImportError:
        if not any(name.startswith("nasplat.") for name in sys.modules):
            return
    sys.exit("nasplat could be imported where the bundle must do without")


def run(job: dict[str, Any]) -> dict[str, Tensor]:
    """For every format the outputs for all inputs, in batches, and for the first input alone."""
    inputs = load_file(job["inputs"])["inputs"]
    outputs: dict[str, Tensor] = {}
    for name in job["formats"]:
        try:
            network = LOADERS[name](Path(job["folder"]), job["threads"])
            with torch.no_grad():
                outputs[f"{name}.all"] = torch.cat(
                    [network(part) for part in torch.split(inputs, job["batch"])]
                )
                outputs[f"{name}.one"] = network(inputs[:1])
        except Exception as error:
            sys.exit(f"{name}: {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}")
    return {name: tensor.contiguous() for name, tensor in outputs.items()}


def main() -> None:
    """Do the job of the file that the command line names."""
    job = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(job["threads"])
    refuse_nasplat()
    outputs = run(job)
    refuse_nasplat()
    save_file(outputs, job["outputs"])


if __name__ == "__main__":
    main()
