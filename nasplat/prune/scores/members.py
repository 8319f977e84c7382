"""The members of a channel: the slots that carry it, one number of each, and one number of all.

After DepGraph (arXiv:2301.12900): what removing a channel removes, in all layers, decides together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nasplat.channels import ChannelSpec, Slot
from nasplat.channels.permutation import channels
from nasplat.errors import NasplatError, expected_one_of
from nasplat.prune.scores.normalisers import NORMALISERS
from nasplat.prune.slots import rows_of

KINDS = ("weight", "scale", "bias")
"""Of members: axes of weights (both of a matrix: what makes the channel, and what reads it), scales of norms and other
factors of a channel, and what is added to a channel."""


@dataclass(frozen=True, slots=True, eq=False)
class Members:
    """values (members, channels) in float64 on the CPU; held (members, channels): which member has which channel."""

    values: Tensor
    held: Tensor


def member_slots(spec: ChannelSpec, kinds: Sequence[str]) -> tuple[Slot, ...]:
    """The slots of these kinds, in the order of the trace: what makes a channel before what reads it."""
    kind = {block.parameter: "weight" for block in spec.structure.blocks}
    of_column = {"scale": "scale", "bias": "bias", "shift": "bias"}
    for vector in spec.structure.vectors:
        found = of_column.get(vector.column, "statistic")
        if kind.setdefault(vector.parameter, found) == "bias":  # a scale that is also added counts as scale
            kind[vector.parameter] = found
    return tuple(slot for slot in spec.slots if kind.get(slot.parameter) in kinds)


def gathered(spec: ChannelSpec, slots: Sequence[Slot], number: Callable[[Slot], Tensor]) -> Members:
    """One number of each channel from each slot: the sum over the places of `number(slot)` (groups, length)."""
    count = channels(spec)
    values = torch.zeros(len(slots), count + 1, dtype=torch.float64)
    held = torch.zeros(len(slots), count + 1, dtype=torch.bool)
    for row, slot in enumerate(slots):
        places = torch.from_numpy(slot.channels).flatten()
        places = torch.where(places < 0, count, places)  # elements in no channel
        values[row].index_add_(0, places, number(slot).detach().flatten().cpu().double())
        held[row, places] = True
    return Members(values[:, :count], held[:, :count])


def summed(spec: ChannelSpec, slots: Sequence[Slot], elements: Mapping[str, Tensor]) -> Members:
    """Of each channel and slot the sum of a tensor's elements that belong to both."""
    return gathered(spec, slots, lambda slot: rows_of(slot, elements[slot.parameter]).sum(-1))


def _mean(members: Members) -> Tensor:
    return members.values.sum(0) / members.held.sum(0)


def _max(members: Members) -> Tensor:
    return members.values.masked_fill(~members.held, -torch.inf).amax(0)


def _prod(members: Members) -> Tensor:
    return members.values.masked_fill(~members.held, 1.0).prod(0)


def _first(members: Members) -> Tensor:
    first = members.held.to(torch.uint8).argmax(0)
    return members.values.gather(0, first[None])[0]


REDUCTIONS: dict[str, Callable[[Members], Tensor]] = {
    "mean": _mean,
    "sum": lambda members: members.values.sum(0),
    "max": _max,
    "prod": _prod,
    "first": _first,
}


def check_words(kinds: Sequence[str], reduction: str, normaliser: str) -> None:
    """NasplatError: a word that is none of KINDS, REDUCTIONS, NORMALISERS."""
    asked = [("kind of member", kind, KINDS) for kind in kinds]
    for what, word, known in (
        *asked,
        ("reduction", reduction, REDUCTIONS),
        ("normaliser", normaliser, NORMALISERS),
    ):
        if word not in known:
            raise NasplatError(f"no {what} {word!r}; {expected_one_of(word, known)}")


def importance(spec: ChannelSpec, members: Members, reduction: str, normaliser: str) -> Tensor:
    """Members reduced to one number for each channel, then normalised over each space: (channels,), see `ChannelScore`.

    NasplatError: numbers that are not finite.
    """
    known = members.held.any(0)
    found = torch.full(known.shape, torch.inf, dtype=torch.float64)
    if len(members.values):
        found[known] = REDUCTIONS[reduction](members)[known]
    if not bool(found[known].isfinite().all()):
        raise NasplatError(
            "weights or losses are not finite, so channels have no importance; give finite ones"
        )
    for space in spec.spaces:
        own = torch.arange(space.start, space.stop)
        own = own[known[own]]
        if len(own):
            found[own] = NORMALISERS[normaliser](found[own])
    return without_slots(spec, found)


def without_slots(spec: ChannelSpec, importance: Tensor) -> Tensor:
    """Zero for channels that no tensor carries."""
    carried = torch.zeros(len(importance) + 1, dtype=torch.bool)
    for slot in spec.slots:
        carried[torch.from_numpy(slot.channels).flatten()] = True
    return importance.masked_fill(~carried[:-1], 0.0)
