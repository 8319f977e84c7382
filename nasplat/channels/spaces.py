"""Channels and the spaces in which they may be permuted."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nasplat.channels.ledger import Ledger
from nasplat.channels.spec import ChannelSpace, Frozen
from nasplat.channels.structure import Numbers
from nasplat.channels.values import NONE

Marks = NDArray[np.uint64]
Flags = NDArray[np.bool_]
STEP = np.uint64(0x9E3779B97F4A7C15)
"""Keeps sums of small numbers and random ones apart."""


@dataclass(frozen=True, slots=True, eq=False)
class Spaces:
    """spaces; channels: the channel of every neuron and block, by place; fixed: which of these keep their order."""

    spaces: tuple[ChannelSpace, ...]
    channels: Numbers
    fixed: Flags


@dataclass(frozen=True, slots=True, eq=False)
class Classes:
    """Channels before they are numbered, each going by the least place of its neurons and blocks.

    label: the channel of every place. parent: the channel of the block that holds a channel, or -1. kind and reason:
    of channels that keep their order.
    """

    label: Numbers
    parent: Numbers
    kind: dict[int, str]
    reason: dict[int, str]
    place: Callable[[Tensor], Numbers]


def find_spaces(ledger: Ledger, label: Numbers, place: Callable[[Tensor], Numbers]) -> Spaces:
    """Channels that the same axes of the same tensors carry, and the same operations read, are one space.

    label: for every neuron and block the least place among those tied to it; place: of numbers of the ledger.
    """
    classes = _classes(ledger, label, place)
    marks = _marks(ledger, classes)
    own = np.unique(label[1:])
    is_block = np.isin(own, label[ledger.count :])
    held = (own < ledger.count) | np.isin(own, classes.parent)
    own, is_block = own[held], is_block[held]
    blocks = _grouped(own[is_block], lambda one: _key(classes, one, int(marks[one])))
    space_of = {one: number for number, space in enumerate(blocks) for one in space}

    def key(one: int) -> Hashable:
        parent = int(classes.parent[one])
        held = parent if parent in classes.kind else space_of.get(parent, -1)
        return _key(classes, one, (int(marks[one]), held))

    return _numbered(ledger, classes, blocks, _grouped(own[~is_block], key))


def _key(classes: Classes, one: int, otherwise: Hashable) -> Hashable:
    """Channels that keep their order share a space with their own kind."""
    return (classes.kind[one], classes.reason[one]) if one in classes.kind else otherwise


def _grouped(classes: Numbers, key: Callable[[int], Hashable]) -> list[list[int]]:
    found: dict[Hashable, list[int]] = {}
    for one in classes.tolist():
        found.setdefault(key(one), []).append(one)
    return list(found.values())


def _numbered(ledger: Ledger, classes: Classes, blocks: list[list[int]], channels: list[list[int]]) -> Spaces:
    """Spaces in order of their first neuron, those of blocks last; channels of blocks in the order of these."""
    order = {one: number for number, one in enumerate(one for space in blocks for one in space)}
    spaces: list[ChannelSpace] = []
    number: dict[int, int] = {}
    first_block = len(channels)
    space_of = {one: first_block + place for place, space in enumerate(blocks) for one in space}
    for space in [*channels, *blocks]:
        parents = {int(classes.parent[one]) for one in space}
        parent = space_of.get(next(iter(parents))) if not parents & {-1, *classes.kind} else None
        if parent is not None:
            space = sorted(space, key=lambda one: (order[int(classes.parent[one])], one))
        start = len(number)
        number.update({one: start + place for place, one in enumerate(space)})
        kind, reason = classes.kind.get(space[0], "hidden"), classes.reason.get(space[0], "")
        name = _name(ledger, space[0]) if space[0] < ledger.count else _block_name(ledger, classes, space[0])
        spaces.append(ChannelSpace(name, start, len(number), kind, reason, parent))
    table = np.full(len(classes.label), -1, dtype=np.int64)
    own = np.array(list(number), dtype=np.int64)
    table[own] = list(number.values())
    fixed = np.isin(classes.label, list(classes.kind))
    label = classes.label.copy()
    label[NONE] = NONE
    return Spaces(tuple(spaces), table[label], fixed)


def _name(ledger: Ledger, one: int) -> str:
    return ledger.rows_of(torch.tensor([one]))[0].name


def _block_name(ledger: Ledger, classes: Classes, block: int) -> str:
    return f"blocks of {_name(ledger, int(np.flatnonzero(classes.parent == block)[0]))}"


def _classes(ledger: Ledger, label: Numbers, place: Callable[[Tensor], Numbers]) -> Classes:
    parent = np.full(len(label), -1, dtype=np.int64)
    kind: dict[int, str] = {}
    reason: dict[int, str] = {}

    def fix(found: Iterable[int], of_kind: str, why: str) -> None:
        for one in found:
            if kind.setdefault(one, of_kind) == of_kind:
                reason.setdefault(one, why)

    for end in ("input", "output"):
        for numbers in ledger.ends[end]:
            fix(np.unique(label[place(numbers[numbers != NONE])]).tolist(), end, "")
    for numbers, why in ledger.frozen:
        fix(np.unique(label[place(numbers)]).tolist(), "frozen", _said(why))
    for members, blocks in ledger.groups:
        if blocks is None:
            continue
        held, holders = label[place(members)], label[place(blocks)]
        if len(np.unique(holders)) == 1 and len(np.unique(np.sort(held, axis=1), axis=0)) == 1:
            continue
        wanted = np.broadcast_to(holders[:, None], held.shape)
        clash = (parent[held] >= 0) & (parent[held] != wanted) | np.isin(held, _in_several(held, wanted))
        if len(np.unique(holders)) < len(np.unique(held, axis=0)):
            clash[:] = True
        fix(np.unique(held[clash]).tolist(), "frozen", "it is grouped in two ways")
        fix(np.unique(wanted[clash]).tolist(), "frozen", "it is grouped in two ways")
        parent[held[~clash]] = wanted[~clash]
    classes = Classes(label, parent, kind, reason, place)
    _fix_blocks(ledger, classes)
    return classes


def _in_several(held: Numbers, holders: Numbers) -> Numbers:
    """The channels that several blocks hold."""
    pairs = np.unique(np.stack((held.ravel(), holders.ravel())), axis=1)
    own, times = np.unique(pairs[0], return_counts=True)
    found: Numbers = own[times > 1]
    return found


def _fix_blocks(ledger: Ledger, classes: Classes) -> None:
    """A block that holds a channel which keeps its order keeps its own, and so does one in another block."""
    for one in list(classes.kind):
        holder = int(classes.parent[one])
        if holder >= 0 and holder not in classes.kind:
            classes.kind[holder], classes.reason[holder] = "frozen", "a channel of it keeps its order"
    for one in np.unique(classes.label[ledger.count :]).tolist():
        if classes.parent[one] >= 0 and one not in classes.kind:
            classes.kind[one], classes.reason[one] = "frozen", "it is a block of blocks"


def _said(why: Frozen) -> str:
    return f"{why.operation} at {why.node}: {why.reason}"


def _marks(ledger: Ledger, classes: Classes) -> Marks:
    """One number for each channel, equal where the same tensors and operations read two channels alike.

    A sum of scrambled numbers over all that reads it: which reader, which of the channel's neurons, and for an axis of
    a tensor at which of its places; for two tied neurons, which two. For a block, of marks of its members also.
    """
    label, place = classes.label, classes.place
    rank = _occurrence(label).astype(np.uint64)
    marks = np.zeros(len(label), dtype=np.uint64)
    salts = iter(np.random.default_rng(0).integers(1, 2**63, _readers(ledger), dtype=np.uint64))

    def note(numbers: Tensor, other: Numbers | None = None, times: Tensor | None = None) -> None:
        held = place(numbers)
        with np.errstate(over="ignore"):
            said = _scrambled(next(salts) + STEP * rank[held])
            if other is not None:
                said = _scrambled(said + other.astype(np.uint64))
            if times is not None:
                said *= times.numpy().astype(np.uint64)
            np.add.at(marks, label[held], said)

    for binding in ledger.bindings.values():
        numbers = binding.numbers[binding.numbers != NONE]
        note(numbers, _occurrence(label[place(numbers)]))
    for members, _ in ledger.groups:
        note(members[members != NONE])
    for numbers, times in ledger.reads:
        note(numbers[numbers != NONE], times=times[numbers != NONE])
    for pairs in ledger.ties:
        note(pairs[0], rank[place(pairs[1])].astype(np.int64))
    held = np.flatnonzero(classes.parent >= 0)
    with np.errstate(over="ignore"):
        np.add.at(marks, classes.parent[held], _scrambled(marks[held]))
    return marks


def _readers(ledger: Ledger) -> int:
    return len(ledger.bindings) + len(ledger.groups) + len(ledger.reads) + len(ledger.ties)


def _occurrence(values: Numbers) -> Numbers:
    """For every value, how many equal ones stand before it."""
    order = np.argsort(values, kind="stable")
    ordered, places = values[order], np.arange(len(values))
    begins = np.concatenate(([True], ordered[1:] != ordered[:-1]))[: len(values)]
    found = np.empty_like(places)
    found[order] = places - np.maximum.accumulate(np.where(begins, places, 0))
    return found


def _scrambled(marks: Marks) -> Marks:
    """Numbers whose sums say which they were: the finaliser of SplitMix64."""
    mixed = (marks ^ (marks >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def equal_blocks(ledger: Ledger, label: Numbers, place: Callable[[Tensor], Numbers]) -> list[Tensor]:
    """Pairs of blocks that hold the same channels."""
    pairs, known = [], dict[tuple[int, ...], int]()
    for members, blocks in ledger.groups:
        for held, block in zip(
            label[place(members)], blocks.tolist() if blocks is not None else (), strict=False
        ):
            first = known.setdefault(tuple(np.unique(held).tolist()), block)
            if first != block:
                pairs.append((first, block))
    return [torch.tensor(pairs).T] if pairs else []
