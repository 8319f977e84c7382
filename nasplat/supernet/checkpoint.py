"""The state of a training in one file: weights, momentum and the number of the next step.

Nothing else needs keeping: batches, architectures and dropout are functions of seed and step.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nasplat.errors import TrainingError
from nasplat.supernet.weights import check_tensors, copy_tensors, read_tensors, write_tensors


@dataclass(slots=True)
class Progress:
    """How far a training is: steps done, passes (forward and backward), seconds, loss of the last step."""

    steps: int = 0
    passes: int = 0
    seconds: float = 0.0
    loss: float = float("nan")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A file that a training of the same identity, and no other, resumes from to the same weights.

    Without a path nothing is written, but what would be is checked all the same.
    """

    net: nn.Module
    optimiser: Optimizer
    path: Path | None
    identity: str

    @property
    def last_good(self) -> str:
        """The end of a message about a training that failed: what it can go back to."""
        return f"; the last good checkpoint stays at {self.path}" if self.path and self.path.exists() else ""

    def save(self, progress: Progress) -> None:
        """Write the file whole or not at all. TrainingError, and the old file, where a weight is not finite."""
        tensors = {f"net.{name}": tensor for name, tensor in self.net.state_dict().items()}
        if not _finite(tensors):
            raise TrainingError(
                f"a weight became NaN or infinite by step {progress.steps}; lower learning_rate, or set clip"
                f"{self.last_good}"
            )
        if self.path is None:
            return
        tensors |= {f"momentum.{name}": tensor for name, tensor in self._momentum().items()}
        metadata = {"identity": self.identity, "progress": json.dumps(asdict(progress))}
        write_tensors(self.path, tensors, metadata)

    def load(self) -> Progress:
        """Bring back network and optimiser; a new Progress where there is no file.

        TrainingError, and nothing changed, where the file is damaged or of another training.
        """
        if self.path is None or not self.path.exists():
            return Progress()
        tensors, metadata = read_tensors(self.path)
        if metadata.get("identity") != self.identity:
            raise TrainingError(
                f"{self.path} is a checkpoint of another training (recipe, seed, space, network or data);"
                " delete it, or run with its old settings"
            )
        progress = _progress(metadata, self.path)
        self._restore(tensors, self.path)
        return progress

    def _restore(self, tensors: dict[str, Tensor], path: Path) -> None:
        weights = {f"net.{name}": tensor for name, tensor in self.net.state_dict().items()}
        velocity = {name: tensor for name, tensor in tensors.items() if name.startswith("momentum.")}
        parameters = {f"momentum.{name}": p for name, p in self.net.named_parameters()}
        check_tensors(
            tensors, weights | {name: parameters[name] for name in velocity.keys() & parameters}, path
        )
        copy_tensors(tensors, weights)
        for name, tensor in velocity.items():
            parameter = parameters[name]
            self.optimiser.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(tensor)

    def _momentum(self) -> dict[str, Tensor]:
        found = {
            name: self.optimiser.state[p].get("momentum_buffer") for name, p in self.net.named_parameters()
        }
        return {name: tensor for name, tensor in found.items() if tensor is not None}


def _progress(metadata: dict[str, str], path: Path) -> Progress:
    try:
        return Progress(**json.loads(metadata["progress"]))
    except (KeyError, TypeError, ValueError) as error:
        raise TrainingError(f"{path} is damaged ({error!r}); delete it and train again") from error


def _finite(tensors: dict[str, Tensor]) -> bool:
    checks = [t.isfinite().all() for t in tensors.values() if t.is_floating_point()]
    return not checks or bool(torch.stack(checks).all())
