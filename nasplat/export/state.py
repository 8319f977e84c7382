"""The format `state`: readable source, weights as safetensors, and their description as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors.torch

from nasplat.export.network import Network
from nasplat.files import content_hash, write_atomic

USAGE = """```python
from network import load  # in this folder; only torch and safetensors are needed
network = load()
outputs = network(inputs)  # inputs {inputs}
```"""


def write_state(network: Network, folder: Path, architecture: Any) -> list[str]:
    """Write `network.py`, `weights.safetensors` and `network.json` to a folder; their names."""
    weights = safetensors.torch.save(network.weights)
    description = {
        "architecture": architecture,
        "input_shape": list(network.shapes.input),
        "output_shape": list(network.shapes.output),
        "tensors": {
            name: {"shape": list(tensor.shape), "dtype": str(tensor.dtype).removeprefix("torch.")}
            for name, tensor in network.weights.items()
        },
        "sha256": {"network.py": content_hash(network.source), "weights.safetensors": content_hash(weights)},
    }
    write_atomic(folder / "network.py", network.source)
    write_atomic(folder / "weights.safetensors", weights)
    write_atomic(folder / "network.json", json.dumps(description, indent=2) + "\n")
    return ["network.py", "weights.safetensors", "network.json"]
