"""Meta-training between two epochs as one file, so that it goes on where it stopped, to the byte."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from nasplat.errors import NasplatError
from nasplat.files import write_atomic
from nasplat.prune.meta.card import Epoch

FILE = "training.safetensors"
NET, BEST, OPTIMIZER = "net.", "best.", "optimizer."


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """What training knows after an epoch: tensors of the metanetwork, of its best epoch so far and of the optimizer,
    the epochs, and what the judge says of untouched networks. Random numbers need no state: their seeds are derived
    from epochs."""

    net: Mapping[str, Tensor]
    best: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]
    epochs: tuple[Epoch, ...]
    untouched: float


def save_checkpoint(folder: Path, point: Checkpoint, digest: str) -> None:
    """Write it whole or not at all. digest: of all that the training depends on."""
    from safetensors.torch import save

    parts = {NET: point.net, BEST: point.best, OPTIMIZER: point.optimizer}
    tensors = {
        start + name: tensor.detach().cpu().clone().contiguous()
        for start, part in parts.items()
        for name, tensor in part.items()
    }
    page = {"digest": digest, "untouched": point.untouched, "epochs": [asdict(e) for e in point.epochs]}
    write_atomic(folder / FILE, save(tensors, {"page": json.dumps(page)}))


def load_checkpoint(folder: Path, digest: str) -> Checkpoint | None:
    """None where there is none. NasplatError: one of another training, or a damaged one."""
    from safetensors import SafetensorError, safe_open

    path = folder / FILE
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            page = json.loads(file.metadata()["page"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        epochs = tuple(Epoch(**epoch) for epoch in page["epochs"])
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise NasplatError(f"{path} cannot be read ({error}); remove it to start anew") from error
    if page["digest"] != digest:
        raise NasplatError(
            f"{path} is of a training with other settings or networks; remove it, or train into another folder"
        )
    net, best, optimizer = (_part(tensors, start) for start in (NET, BEST, OPTIMIZER))
    return Checkpoint(net, best, optimizer, epochs, page["untouched"])


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of an optimizer that keeps tensors only, by number of the parameter and name."""
    state = optimizer.state_dict()["state"]
    return {f"{i}.{name}": torch.as_tensor(value) for i, own in state.items() for name, value in own.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """The inverse of `optimizer_tensors`."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        number, name = key.split(".", 1)
        state.setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _part(tensors: Mapping[str, Tensor], start: str) -> dict[str, Tensor]:
    return {name.removeprefix(start): t for name, t in tensors.items() if name.startswith(start)}
