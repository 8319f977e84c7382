"""The state of a training in one file: weights, the optimiser's state, what parts of the schedule learned, progress.

Nothing else needs keeping: batches, random architectures and dropout are functions of seed and step. Tensors are named
`net.<name>`, `optimiser.<key>.<parameter>` and `state.<phase>.<role>.<name>`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nasplat.errors import TrainingError
from nasplat.files import json_hash
from nasplat.supernet.schedule import Stateful
from nasplat.supernet.weights import check_tensors, copy_tensors, read_tensors, write_tensors


@dataclass(slots=True)
class Progress:
    """How far a training is: steps, passes (forward and backward), seconds, mean and first loss of the last step."""

    steps: int = 0
    passes: int = 0
    seconds: float = 0.0
    loss: float = float("nan")
    first_loss: float = float("nan")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A file that a training of the same identity, and no other, resumes from to the same weights.

    Without a path nothing is written, but what would be is checked all the same. parts: those that learn, by name, on
    the device of the training.
    """

    net: nn.Module
    optimiser: Optimizer
    parts: Mapping[str, Stateful]
    path: Path | None
    identity: str
    device: torch.device

    @property
    def last_good(self) -> str:
        """The end of a message about a training that failed: what it can go back to."""
        return f"; the last good checkpoint stays at {self.path}" if self.path and self.path.exists() else ""

    def save(self, progress: Progress, write: bool = True) -> None:
        """Write the file whole or not at all; or check only, in a process whose neighbour writes.

        TrainingError, and the old file, where a weight is not finite.
        """
        weights = self._weights()
        if not _finite(weights):
            raise TrainingError(
                f"a weight became NaN or infinite by step {progress.steps}; lower learning_rate, or set clip"
                f"{self.last_good}"
            )
        if self.path is None or not write:
            return
        tensors = weights | self._optimiser() | self._learned()
        metadata = {
            "identity": self.identity,
            "progress": json.dumps(asdict(progress)),
            "forms": _forms(tensors),
        }
        write_tensors(self.path, tensors, metadata)

    def load(self, steps: int | None = None) -> Progress:
        """Bring back network, optimiser and parts; a new Progress where there is no file.

        steps: of the whole training, beyond which no progress is.
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
        whole = metadata.get("forms") == _forms(tensors) and _finite(_named(tensors, "net"))
        if not whole or (steps is not None and progress.steps > steps):
            reason = "more steps than the training has" if whole else "a tensor is missing or not finite"
            raise TrainingError(f"{self.path} is damaged ({reason}); delete it and train again")
        self._restore(tensors, self.path)
        return progress

    def _restore(self, tensors: dict[str, Tensor], path: Path) -> None:
        parameters = dict(self.net.named_parameters())
        optimiser = _named(tensors, "optimiser")  # <key>.<parameter>, a tensor like the parameter or a count
        owned = {n: p for n in optimiser if (p := parameters.get(n.partition(".")[2])) is not None}
        like = {f"optimiser.{n}": p if optimiser[n].ndim else optimiser[n] for n, p in owned.items()}
        learned = {part: _named(tensors, f"state.{part}") for part in self.parts}
        known = {f"state.{part}.{n}": t for part, state in learned.items() for n, t in state.items()}
        check_tensors(tensors, self._weights() | like | known, path)
        copy_tensors(tensors, self._weights())
        for name, parameter in owned.items():
            form = like[f"optimiser.{name}"]
            copy = torch.empty_like(form).copy_(optimiser[name])
            self.optimiser.state[parameter][name.partition(".")[0]] = copy
        for part, state in learned.items():
            if state:
                self.parts[part].restore({name: tensor.to(self.device) for name, tensor in state.items()})

    def _weights(self) -> dict[str, Tensor]:
        return {f"net.{name}": tensor for name, tensor in self.net.state_dict().items()}

    def _optimiser(self) -> dict[str, Tensor]:
        return {
            f"optimiser.{key}.{name}": value
            for name, parameter in self.net.named_parameters()
            for key, value in self.optimiser.state.get(parameter, {}).items()
            if isinstance(value, Tensor)
        }

    def _learned(self) -> dict[str, Tensor]:
        states = {name: part.state() for name, part in self.parts.items()}
        return {f"state.{part}.{name}": t for part, state in states.items() for name, t in state.items()}


def _named(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors under a prefix, by the rest of their names."""
    start = f"{prefix}."
    return {name.removeprefix(start): t for name, t in tensors.items() if name.startswith(start)}


def _progress(metadata: dict[str, str], path: Path) -> Progress:
    try:
        kinds, table = asdict(Progress()), json.loads(metadata["progress"])
        return Progress(**{name: type(kinds[name])(value) for name, value in table.items()})
    except (KeyError, TypeError, ValueError) as error:
        raise TrainingError(f"{path} is damaged ({error!r}); delete it and train again") from error


def _forms(tensors: Mapping[str, Tensor]) -> str:
    """The hash of names, shapes and types: what a whole file holds."""
    return json_hash({name: [list(t.shape), str(t.dtype)] for name, t in tensors.items()})


def _finite(tensors: dict[str, Tensor]) -> bool:
    checks: dict[torch.device, list[Tensor]] = {}  # to read one is to wait for its device
    for tensor in tensors.values():
        if tensor.is_floating_point():
            checks.setdefault(tensor.device, []).append(tensor.isfinite().all())
    return all(bool(torch.stack(found).all()) for found in checks.values())
