"""Filters near the geometric median of their layer's are replaceable: FPGM (arXiv:1811.00250)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nasplat.channels import ChannelSpec, Slot, named_tensors
from nasplat.channels.structure import Numbers
from nasplat.prune.scores.evidence import Evidence
from nasplat.prune.scores.members import Members, check_words, gathered, importance, member_slots
from nasplat.prune.slots import rows_of


@dataclass(frozen=True, slots=True)
class FPGM:
    """The sum of Euclidean distances from a channel's weights in a member to those of all others of its space, eq. 4.

    The paper looks at filters, the axis of a weight that makes a channel; here each axis of a weight that carries the
    channel is a member. Where a convolution has groups, others are those of the channel's group, as only they meet the
    same channels. Hidden spaces only: distances between all words of a vocabulary are not needed.
    """

    reduction: str = "sum"
    normaliser: str = "max"

    def __post_init__(self) -> None:
        check_words((), self.reduction, self.normaliser)

    def __call__(self, evidence: Evidence) -> Tensor:
        """Importance (channels,). Cost: for each axis n^2 d for n channels of d weights."""
        spec, tensors = evidence.spec, named_tensors(evidence.module)
        slots = member_slots(spec, ("weight",))
        groups: dict[str, int] = {}
        for slot in slots:
            groups[slot.parameter] = max(groups.get(slot.parameter, 1), len(slot.channels))
        found = gathered(
            spec,
            slots,
            lambda slot: _distances(spec, slot, tensors[slot.parameter], groups[slot.parameter]),
        )
        hidden = torch.zeros(found.held.shape[1], dtype=torch.bool)
        for space in spec.spaces:
            hidden[space.start : space.stop] = space.kind == "hidden"
        return importance(spec, Members(found.values, found.held & hidden), self.reduction, self.normaliser)


def _distances(spec: ChannelSpec, slot: Slot, weight: Tensor, groups: int) -> Tensor:
    """For every place of a slot (places,) the distances from its channel to all others that may be compared with it,
    at the first place of the channel, zero at its others.
    """
    rows = rows_of(slot, weight.double()).flatten(0, 1)
    places = slot.channels.ravel()
    found = rows.new_zeros(len(rows))
    for space in (space for space in spec.spaces if space.kind == "hidden"):
        inside = np.flatnonzero((places >= space.start) & (places < space.stop))
        for own in _comparable(inside, slot, groups):
            own = own[np.argsort(places[own], kind="stable")]
            size = len(np.unique(places[own]))
            filters = rows[torch.from_numpy(own).to(rows.device)].reshape(size, -1)
            found[own[:: len(own) // size]] = torch.cdist(filters, filters).sum(1)
    return found


def _comparable(places: Numbers, slot: Slot, groups: int) -> list[Numbers]:
    """Places of a slot by the group of the convolution to which they belong."""
    if slot.axis != 0 and len(slot.channels) == 1:
        groups = 1
    group = places * groups // slot.channels.size
    return [places[group == one] for one in np.unique(group)]
