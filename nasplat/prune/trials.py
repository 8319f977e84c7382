"""The loss of a network without some of its channels, found by trying."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nasplat.channels import ChannelSpec, named_tensors
from nasplat.channels.structure import Numbers
from nasplat.errors import NasplatError
from nasplat.prune.masked import Kept, channel_masks
from nasplat.prune.scores.evidence import Loss
from nasplat.prune.slots import owned, viewed

Norms: TypeAlias = Literal["stored", "batch"]
"""Statistics by which batch norms work: those of the whole network, or those of each batch, as after recalibration."""


class Trials:
    """A private copy of a network, in which channels are set to zero and put back in place.

    A trial costs the passes of the loss, without gradients, and touches only the weights of the channels that it tries.
    evaluations: how often the loss was asked so far.
    """

    def __init__(self, module: nn.Module, spec: ChannelSpec, loss: Loss, norms: Norms = "stored") -> None:
        self.spec, self.loss, self.evaluations = spec, loss, 0
        self._module = with_norms(copy.deepcopy(module), norms)
        self._tensors = named_tensors(self._module)
        self._whole = {name: self._tensors[name].clone() for name in {slot.parameter for slot in spec.slots}}
        self._slots = list(owned(spec))
        self._places: dict[tuple[int, ...], list[tuple[Tensor, tuple[Tensor, Tensor]]]] = {}

    @torch.no_grad()
    def keep(self, kept: Kept) -> float:
        """From now on only these channels, (channels,), are there; the loss of that network."""
        masks = channel_masks(self.spec, kept)
        for name, whole in self._whole.items():
            self._tensors[name].copy_(whole)
            if name in masks:
                self._tensors[name].masked_fill_(~masks[name].to(whole.device), 0)
        return self._mean_loss()

    @torch.no_grad()
    def without(self, channels: Numbers) -> float:
        """The loss of the network that is there without some more channels; afterwards they are back."""
        saved = []
        for view, place in self._elements(channels):
            saved.append((view, place, view[place]))
            view[place] = 0
        found = self._mean_loss()
        for view, place, values in reversed(saved):  # what two axes share comes back from the first
            view[place] = values
        return found

    def _elements(self, channels: Numbers) -> list[tuple[Tensor, tuple[Tensor, Tensor]]]:
        """Views of tensors, and where in them the channels are."""
        key = tuple(channels.tolist())
        if key not in self._places:
            self._places[key] = []
            for slot in self._slots:
                rows, columns = np.nonzero(np.isin(slot.channels, channels))
                if len(rows):
                    view = viewed(slot, self._tensors[slot.parameter])
                    place = (
                        torch.from_numpy(rows).to(view.device),
                        torch.from_numpy(columns).to(view.device),
                    )
                    self._places[key].append((view, place))
        return self._places[key]

    def _mean_loss(self) -> float:
        """The mean over batches, read once. NasplatError: there is no batch."""
        self.evaluations += 1
        found = [loss.detach().double().mean() for loss in self.loss(self._module)]
        if not found:
            raise NasplatError("`loss` yielded no batch; give at least one")
        return float(torch.stack(found).mean())


def with_norms(module: nn.Module, norms: Norms) -> nn.Module:
    """The module itself in evaluation mode; with "batch" its batch norms work by the statistics of each batch, and
    leave those that they hold."""
    module.eval()
    batch_norms: Iterable[_BatchNorm] = (part for part in module.modules() if isinstance(part, _BatchNorm))
    for part in batch_norms if norms == "batch" else ():
        part.train()
        part.momentum = 0.0
    return module
