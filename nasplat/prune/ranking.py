"""In which order units go, and how many of each group are left after so many of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nasplat.channels import ChannelSpec
from nasplat.prune.groups import Group, kept_of
from nasplat.prune.masked import Kept

Ranking = Literal["global", "layer", "isomorphic"]
Values = NDArray[np.float64]
Left: TypeAlias = Mapping[str, int]
"""Units that stay, by the name of the group."""


@dataclass(frozen=True, slots=True)
class Widths:
    """What widths may be: whole multiples of round_to (or the whole group), at least `least` units and at least a
    share of `least_share`."""

    round_to: int = 1
    least: int = 1
    least_share: float = 0.0

    def fit(self, left: int, size: int) -> int:
        """The smallest width allowed that is not below `left`, of a group of so many units."""
        least = max(left, self.least, int(np.ceil(self.least_share * size - 1e-9)), 1)
        return min(size, -(-least // self.round_to) * self.round_to)


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """groups; places (r, size) of each, most important first; steps: the group that loses its next unit, in turn;
    firm: how many units of each are of infinite importance, and never go."""

    groups: Sequence[Group]
    places: Sequence[NDArray[np.int64]]
    steps: Sequence[int]
    firm: Sequence[int]
    widths: Widths
    channels: int

    def left(self, steps: int) -> dict[str, int]:
        """Units that stay after so many steps."""
        gone = np.bincount(self.steps[:steps], minlength=len(self.groups)).tolist()
        return {
            group.name: self.widths.fit(group.size - lost, group.size)
            for group, lost in zip(self.groups, gone, strict=True)
        }

    def stay(self, left: Left) -> dict[str, list[list[int]]]:
        """Places of each row that stay, in order, by the name of the group."""
        return {
            group.name: np.sort(places[:, : left[group.name]], axis=1).tolist()
            for group, places in zip(self.groups, self.places, strict=True)
        }

    def kept(self, left: Left) -> Kept:
        """Channels that stay, (channels,)."""
        return kept_of(self.channels, self.groups, self.stay(left))


def ranked(
    spec: ChannelSpec, groups: Sequence[Group], importance: Values, ranking: Ranking, widths: Widths
) -> Order:
    """The order of all units but those that every width keeps. importance (channels,); infinite: never goes."""
    units = [np.sort(group.values(importance), axis=1).mean(0) for group in groups]
    firm = [int(np.isinf(own).sum()) for own in units]
    keys = RANKINGS[ranking](spec, groups, units)
    steps = [
        (float(key), number, place)
        for number, group in enumerate(groups)
        for place, key in enumerate(keys[number][: group.size - widths.fit(firm[number], group.size)])
    ]
    places = [group.order(importance) for group in groups]
    return Order(groups, places, [number for _, number, _ in sorted(steps)], firm, widths, len(importance))


def _global(spec: ChannelSpec, groups: Sequence[Group], units: Sequence[Values]) -> list[Values]:
    return list(units)


def _layer(spec: ChannelSpec, groups: Sequence[Group], units: Sequence[Values]) -> list[Values]:
    return [(np.arange(len(own)) + 0.5) / len(own) for own in units]


def _isomorphic(spec: ChannelSpec, groups: Sequence[Group], units: Sequence[Values]) -> list[Values]:
    """The share of units that rank lower among groups that stand in the same kinds of tensors."""
    forms = [_form(spec, group) for group in groups]
    found = []
    for form, own in zip(forms, units, strict=True):
        alike = np.sort(np.concatenate([other for f, other in zip(forms, units, strict=True) if f == form]))
        places = (np.searchsorted(alike, own, "left") + np.searchsorted(alike, own, "right")) / 2
        found.append(np.maximum.accumulate(places / len(alike)))
    return found


def _form(spec: ChannelSpec, group: Group) -> tuple[object, ...]:
    """Which axes of which kinds of tensors carry a group, whatever their widths."""
    own = set(group.channels.tolist())
    kinds = Counter(
        (slot.axis, spec.structure.shapes[slot.parameter][2:], slot.parameter.rpartition(".")[2])
        for slot in spec.slots
        if not own.isdisjoint(np.unique(slot.channels).tolist())
    )
    return (group.kind, *sorted(kinds.items(), key=str))


RANKINGS: dict[Ranking, Callable[[ChannelSpec, Sequence[Group], Sequence[Values]], list[Values]]] = {
    "global": _global,
    "layer": _layer,
    "isomorphic": _isomorphic,
}
"""How units of different groups compare: by importance itself; by their place in their own group, which takes equal
shares of all; by their place among all groups of one form (arXiv:2407.04616)."""
