"""How much the loss rises when one more unit goes: by doing it, on a copy."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nasplat.channels import Slot, named_tensors
from nasplat.errors import TrainingError
from nasplat.prune.masked import Kept, channel_masks
from nasplat.prune.meta.data_models import DataModel
from nasplat.prune.meta.objective import Losses
from nasplat.prune.setaware.units import Units
from nasplat.prune.slots import owned

Norms: TypeAlias = Literal["batch", "stored"]
"""By which statistics batch norms work: those of the batch, as after recalibration, or those of the whole network."""


class MaskedNetwork:
    """A copy of a network in which units are set to zero and put back in place; its own is never touched."""

    def __init__(self, model: DataModel, units: Units, norms: Norms = "batch") -> None:
        self.spec, self.units = model.spec, units
        self.module = with_norms(copy.deepcopy(model.module), norms).requires_grad_()
        self.tensors = named_tensors(self.module)
        self._whole = {name: tensor.clone() for name, tensor in self.tensors.items()}
        self._views = [(slot, _by_channel(self.tensors[slot.parameter], slot)) for slot in owned(self.spec)]

    @torch.no_grad()
    def keep(self, kept: Kept) -> None:
        """Everything as it was, but for what is not in `kept` (channels,)."""
        masks = channel_masks(self.spec, kept)
        for name, tensor in self.tensors.items():
            tensor.copy_(self._whole[name] * masks[name] if name in masks else self._whole[name])

    @torch.no_grad()
    def rises(self, kept: Kept, candidates: Sequence[int], losses: Losses, seed: int) -> NDArray[np.float64]:
        """By how much the mean loss rises if each candidate, a unit, goes next: (candidates,) in nats or what losses
        are in. The network is left without what is not in `kept`."""
        self.keep(kept)
        before = self.loss(losses, seed)
        return np.array([self._loss_without(unit, losses, seed) - before for unit in candidates])

    def loss(self, losses: Losses, seed: int) -> float:
        """The mean loss over the batches of a seed. TrainingError: it is not finite, or there is no batch."""
        with torch.no_grad():
            found = [float(loss) for loss in losses(self.module, seed)]
        mean = float(np.mean(found)) if found else float("nan")
        if not np.isfinite(mean):
            raise TrainingError(f"a masked network has a loss of {mean}; check the network and its data")
        return mean

    def _loss_without(self, unit: int, losses: Losses, seed: int) -> float:
        saved = []
        for slot, view in self._views:
            where = np.nonzero(np.isin(slot.channels, self.units.members[unit]))
            if len(where[0]):
                place = tuple(torch.from_numpy(axis) for axis in where)
                saved.append((view, place, view[place].clone()))
                view[place] = 0
        found = self.loss(losses, seed)
        for view, place, values in reversed(saved):  # what two slots share comes back from the first
            view[place] = values
        return found


def with_norms(module: nn.Module, norms: Norms) -> nn.Module:
    """The module itself in evaluation mode; with "batch" its batch norms work by the statistics of each batch, and
    leave those that they hold."""
    module.eval()
    for part in module.modules():
        if norms == "batch" and isinstance(part, _BatchNorm):
            part.train()
            part.momentum = 0.0
    return module


def _by_channel(tensor: Tensor, slot: Slot) -> Tensor:
    """A view of a tensor whose first two axes are those of the slot's channels, (groups, length, ...)."""
    groups = len(slot.channels)
    if groups == 1:
        return tensor.movedim(slot.axis, 0)[None]
    return tensor.unflatten(0, (groups, -1)).movedim(slot.axis + 1, 1)
