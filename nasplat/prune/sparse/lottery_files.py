"""What a lottery remembers: in memory, or in a folder that the same lottery goes on from.

lottery.json               whose lottery it is, and all finished draws
early.safetensors          the weights that tickets start from
masks 1.safetensors        the plan of a round
weights 1.safetensors      the trained ticket of a round; of round 0, the trained dense network
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from nasplat.errors import NasplatError
from nasplat.files import content_hash, json_hash, write_atomic
from nasplat.prune.sparse.plan import MaskPlan
from nasplat.prune.sparse.saving import load_mask_plan

LEDGER = "lottery.json"


class Keeper:
    """Finished draws by name, and the tensors that later rounds need. Without a folder all is in memory only."""

    def __init__(self, folder: Path | None, question: Mapping[str, Any], start: nn.Module) -> None:
        self._folder = folder
        self._identity = json_hash({**question, "start": content_hash(_packed(start.state_dict()))})
        self._draws: dict[str, dict[str, Any]] = {}
        self._tensors: dict[str, dict[str, Tensor]] = {}
        self._plans: dict[int, MaskPlan] = {}
        if folder is not None and (folder / LEDGER).is_file():
            self._draws = self._read(folder / LEDGER)

    def draw(self, name: str) -> dict[str, Any] | None:
        """A finished draw, if it is finished."""
        return self._draws.get(name)

    def keep(
        self, name: str, draw: dict[str, Any], file: str, weights: Mapping[str, Tensor] | None = None
    ) -> None:
        """Remember a draw, after the weights that later ones need: what is in the ledger is whole."""
        if weights is not None:
            self._write(file, weights)
        self._draws[name] = draw
        if self._folder is not None:
            content = {"identity": self._identity, "draws": self._draws}
            write_atomic(self._folder / LEDGER, json.dumps(content))

    def network(self, like: nn.Module, file: str, make: Callable[[], nn.Module]) -> nn.Module:
        """A network as it is kept in a file, or made now and kept."""
        if self._folder is None or not self._draws or not (self._folder / f"{file}.safetensors").is_file():
            made = make()
            self._write(file, made.state_dict())
            return made
        return self.weights(like, file)

    def weights(self, like: nn.Module, file: str) -> nn.Module:
        """A copy of a network with kept weights."""
        network = copy.deepcopy(like)
        network.load_state_dict(self._load(file))
        return network

    def plan(self, number: int, make: Callable[[], MaskPlan]) -> MaskPlan:
        """The plan of a round as it is kept, or made now and kept."""
        path = None if self._folder is None else self._folder / f"masks {number}.safetensors"
        if path is not None and path.is_file() and any(d["round"] == number for d in self._draws.values()):
            return load_mask_plan(path)
        plan = make()
        if path is not None:
            plan.save(path)
        return plan

    def _write(self, file: str, tensors: Mapping[str, Tensor]) -> None:
        if self._folder is None:
            self._tensors[file] = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        else:
            write_atomic(self._folder / f"{file}.safetensors", _packed(tensors))

    def _load(self, file: str) -> dict[str, Tensor]:
        if self._folder is None:
            return self._tensors[file]
        path = self._folder / f"{file}.safetensors"
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise NasplatError(f"{path} is missing or damaged ({error}): delete {self._folder}") from error

    def _read(self, path: Path) -> dict[str, dict[str, Any]]:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            identity, draws = content["identity"], dict(content["draws"])
        except (KeyError, TypeError, ValueError) as error:
            raise NasplatError(f"{path} is damaged ({error!r}): delete {path.parent}") from error
        if identity != self._identity:
            raise NasplatError(
                f"{path.parent} holds another lottery (settings or weights): give another folder, or delete it"
            )
        return draws


def _packed(tensors: Mapping[str, Tensor]) -> bytes:
    """Tensors as the content of a safetensors file; shared ones each by their own name."""
    return save({name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()})
