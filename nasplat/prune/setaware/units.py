"""What may be removed next, numbered through all groups of a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nasplat.channels import ChannelSpec
from nasplat.channels.permutation import channels
from nasplat.channels.structure import Numbers
from nasplat.prune.groups import Group, find_groups
from nasplat.prune.masked import Kept


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """The units of all groups, one after the other.

    members: the channels that each unit takes along; flat: all of them, starts (units,): where each unit's begin.
    group_of (units,): the number of its group. nodes, unit_of (p,): pairs of a neuron and a unit that takes it. total:
    how many channels the spec numbers.
    """

    groups: tuple[Group, ...]
    members: tuple[Numbers, ...]
    flat: Numbers
    starts: Numbers
    group_of: Numbers
    nodes: Tensor
    unit_of: Tensor
    total: int

    def __len__(self) -> int:
        return len(self.members)

    @classmethod
    def of(cls, spec: ChannelSpec, groups: Sequence[Group] | None = None) -> Units:
        """Of some groups; by default of all that the spec has."""
        groups = tuple(find_groups(spec) if groups is None else groups)
        members = [_channels(group, place) for group in groups for place in range(group.size)]
        held = [np.flatnonzero(np.isin(spec.channel_of, numbers)) for numbers in members]
        nodes = np.concatenate([*held, np.empty(0, np.int64)])
        unit_of = np.repeat(np.arange(len(members)), [len(one) for one in held])
        return cls(
            groups,
            tuple(members),
            np.concatenate([*members, np.empty(0, np.int64)]),
            np.cumsum([0, *map(len, members)])[:-1],
            np.repeat(np.arange(len(groups)), [group.size for group in groups]),
            torch.from_numpy(nodes),
            torch.from_numpy(unit_of),
            channels(spec),
        )

    def whole(self) -> Kept:
        """Of a network that has lost nothing."""
        return np.ones(self.total, dtype=bool)

    def there(self, kept: Kept) -> Kept:
        """Which units have a channel left, (units,)."""
        found: Kept = np.logical_or.reduceat(kept[self.flat], self.starts)
        return found

    def removable(self, kept: Kept, least: int = 1) -> Numbers:
        """The units that may go next: each group keeps at least so many."""
        there = self.there(kept)
        left = np.bincount(self.group_of[there], minlength=len(self.groups))
        return np.flatnonzero(there & (left[self.group_of] > least))

    def without(self, kept: Kept, unit: int) -> Kept:
        """What stays when a unit goes, too."""
        rest = kept.copy()
        rest[self.members[unit]] = False
        return rest


def _channels(group: Group, place: int) -> Numbers:
    own = group.rows[:, place]
    return np.unique(np.concatenate([own, *(group.holds[one] for one in own.tolist() if one in group.holds)]))
