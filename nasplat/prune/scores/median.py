"""Filters near the geometric median of their layer's are replaceable: FPGM (arXiv:1811.00250)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nasplat.channels import ChannelSpec, Slot, named_tensors
from nasplat.prune.scores.evidence import Evidence
from nasplat.prune.scores.members import Members, check_words, gathered, importance, member_slots
from nasplat.prune.slots import rows_of


@dataclass(frozen=True, slots=True)
class FPGM:
    """The sum of Euclidean distances from a channel's weights in a member to those of all others of its space, eq. 4.

    The paper looks at filters, the axis of a weight that makes a channel; here each axis of a weight that carries the
    channel is a member. Hidden spaces only: distances between all inputs of a large vocabulary are not needed.
    """

    reduction: str = "sum"
    normaliser: str = "max"

    def __post_init__(self) -> None:
        check_words((), self.reduction, self.normaliser)

    def __call__(self, evidence: Evidence) -> Tensor:
        """Importance (channels,). Cost: for each axis n^2 d for n channels of d weights."""
        spec, tensors = evidence.spec, named_tensors(evidence.module)
        slots = member_slots(spec, ("weight",))
        found = gathered(spec, slots, lambda slot: _distances(spec, slot, tensors[slot.parameter]))
        hidden = torch.zeros(found.held.shape[1], dtype=torch.bool)
        for space in spec.spaces:
            hidden[space.start : space.stop] = space.kind == "hidden"
        return importance(spec, Members(found.values, found.held & hidden), self.reduction, self.normaliser)


def _distances(spec: ChannelSpec, slot: Slot, weight: Tensor) -> Tensor:
    """For every channel, at the first of its places (groups, length), the sum of distances to all of its space."""
    rows = rows_of(slot, weight.double()).flatten(0, 1)
    places = slot.channels.ravel()
    found = rows.new_zeros(len(rows))
    for space in (space for space in spec.spaces if space.kind == "hidden"):
        own = np.flatnonzero((places >= space.start) & (places < space.stop))
        own = own[np.argsort(places[own], kind="stable")]
        if len(own):
            size = len(np.unique(places[own]))
            filters = rows[torch.from_numpy(own).to(rows.device)].reshape(size, -1)
            found[own[:: len(own) // size]] = torch.cdist(filters, filters).sum(1)
    return found.reshape(slot.channels.shape)
