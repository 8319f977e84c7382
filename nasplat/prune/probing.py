"""Which groups may be cut: nothing is believed that has not run.

A network is cut at random and run beside the same network masked; where both agree, the groups are free. Where they
do not, each group is tried alone, with sizes that the network keeps in attributes of its own, and beside others of
its size; what still fails is frozen with the reason.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, islice

import numpy as np
import torch
from torch import Tensor, nn

from nasplat.channels import ChannelSpec, named_tensors
from nasplat.channels.permutation import channels
from nasplat.measure.size import evaluating
from nasplat.prune.adapting import Attribute, candidates, resized
from nasplat.prune.cutting import cut_module, cuts_of
from nasplat.prune.groups import Group, kept_of, tied
from nasplat.prune.levelled import Levelled
from nasplat.prune.masked import Kept, channel_masks

ATTEMPTS = 64
"""Sets of attributes that are tried for one group, and pairs of groups that are tried together."""

OTHERS = "its width enters what other channels compute"


@dataclass(frozen=True, slots=True)
class Probed:
    """free: groups that may be cut. attributes: what must be set when they are. frozen: name to reason, of the rest.
    tried: channels that stayed in the last trial, and the network cut to them."""

    free: tuple[Group, ...]
    attributes: tuple[Attribute, ...]
    frozen: Mapping[str, str]
    tried: tuple[Kept, nn.Module] | None = None


@dataclass(slots=True, eq=False)
class Prober:
    """Cuts a network and runs it, in evaluation mode.

    groups: all that might be cut. trust: names of those that are free where they run, whatever comes out. trained:
    whether a run in training mode must not fail either, since something of the network runs only there.
    """

    module: nn.Module
    examples: tuple[Tensor, ...]
    spec: ChannelSpec
    groups: Sequence[Group]
    trust: frozenset[str] = frozenset()
    trained: bool = False
    seed: int = 0
    tried: tuple[Kept, nn.Module] | None = None

    def probe(self) -> Probed:
        """What may be cut, and with what beside."""
        trusted = any(
            group.name in self.trust for group in self.groups
        )  # beside it, others would pass unseen
        if not trusted and not self.fault(self.groups, ()):
            return Probed(tuple(self.groups), (), {}, self.tried)
        free: list[Group] = []
        attributes: list[Attribute] = []
        failed: dict[str, tuple[Group, str]] = {}
        for group in self.groups:
            fault = self.fault([group], ())
            found = self._attributes(group) if fault else ()
            if fault and found is None:
                failed[group.name] = (group, fault)
            else:
                free.append(group)
                attributes += found or ()
        for group, found in self._ties(failed):
            free.append(group)
            attributes += found
        return self._together(free, attributes, {name: why for name, (_, why) in failed.items()})

    def fault(self, groups: Sequence[Group], attributes: Sequence[Attribute]) -> str:
        """What goes wrong when these groups lose about a quarter of their units or nearly all; "" if nothing does."""
        drawn = draws([group.size for group in groups])
        many = [[group.size - 1 - number for group, number in zip(groups, one, strict=True)] for one in drawn]
        random = np.random.default_rng(self.seed)
        for numbers in drawn:  # one unit alone may be dead after an activation, a quarter is not
            places = [
                _some(group, group.size - _quarter(group.size, number), random)
                for group, number in zip(groups, numbers, strict=True)
            ]
            if fault := self._fault(groups, attributes, places):
                return fault
        for lost in many:  # from the front, where strides, halves and slices of the code notice it
            places = [[list(range(gone, g.size))] * len(g.rows) for g, gone in zip(groups, lost, strict=True)]
            if fault := self._fault(groups, attributes, places):
                return fault
        return ""

    def _fault(
        self, groups: Sequence[Group], attributes: Sequence[Attribute], stay: Sequence[list[list[int]]]
    ) -> str:
        """The same of one cut; stay: places in every row of each group."""
        places = {group.name: rows for group, rows in zip(groups, stay, strict=True)}
        return self.fault_of(groups, attributes, kept_of(channels(self.spec), groups, places))

    def fault_of(self, groups: Sequence[Group], attributes: Sequence[Attribute], kept: Kept) -> str:
        """What goes wrong when only these channels stay, (channels,): of some groups, not all of which need be cut."""
        cuts = cuts_of(self.spec, kept)
        left = {group.name: group.size for group in self.groups}
        left |= {name: group.left(kept) for group in groups for name in (group.name, *group.parts)}
        try:
            cut = cut_module(self.module, cuts, resized(self.module, self.examples, cuts, attributes, left))
            outputs = _run(cut, self.examples)
        except Exception as error:  # networks may raise anything on channels that they do not expect
            return f"it does not run with fewer channels: {_first_line(error)}"
        expected = self._masked(kept)
        if [one.shape for one in outputs] != [one.shape for one in expected]:
            return "the shape of its outputs changes"
        trusted = any(g.name in self.trust and not kept[g.rows].all() for g in groups)
        if not trusted and not _close(outputs, expected):
            return OTHERS
        self.tried = (kept, cut)
        return self._fault_in_training(cut) if self.trained else ""

    def _masked(self, kept: Kept) -> list[Tensor]:
        """What the network gives with the weights of channels that go at zero."""
        tensors = named_tensors(self.module)
        masks = channel_masks(self.spec, kept)
        zeroed = {name: tensors[name] * mask.to(tensors[name].device) for name, mask in masks.items()}
        with evaluating(self.module), torch.no_grad(), Levelled():
            return _tensors(torch.func.functional_call(self.module, zeroed, self.examples))

    def _attributes(self, group: Group) -> tuple[Attribute, ...] | None:
        """The fewest attributes with which a group can be cut; None if there are none."""
        found = list(candidates(self.module, self.spec, group, self.groups))
        sets = (chosen for size in range(1, len(found) + 1) for chosen in combinations(found, size))
        for chosen in islice((one for one in sets if _different(one)), ATTEMPTS):
            if not self.fault([group], chosen):
                return chosen
        return None

    def _ties(self, failed: dict[str, tuple[Group, str]]) -> Iterator[tuple[Group, tuple[Attribute, ...]]]:
        """Groups that can be cut together only, with the attributes that this needs; they leave `failed`."""
        ties = (make(failed) for make in (self._streams, self._pairs))  # pairs of what streams have left
        for tie in chain.from_iterable(ties):
            if not failed.keys() >= set(tie.parts):
                continue
            found = self._attributes(tie) if self.fault([tie], ()) else ()
            if found is not None:
                for name in tie.parts:
                    del failed[name]
                yield tie, found

    def _streams(self, failed: Mapping[str, tuple[Group, str]]) -> Iterator[Group]:
        """Streams as wide as all heads of attention layers together, tied to the sizes of these heads, or to heads."""
        single = [group for group, _ in failed.values()]
        for stream in (group for group in single if group.kind == "channels"):
            for kind in ("inside", "blocks"):
                near = [g for g in single if g.kind == kind and _width(g) == stream.size]
                for size in {group.size for group in near}:
                    yield tied([stream, *(g for g in near if g.size == size)], stream.size // size)

    def _pairs(self, failed: Mapping[str, tuple[Group, str]]) -> Iterator[Group]:
        """Groups of equal size that run when they lose as many, two or more together."""
        single = [group for group, _ in failed.values() if group.kind != "blocks"]
        pairs = ((a, b) for a, b in combinations(single, 2) if a.size == b.size)
        sets: list[list[Group]] = []
        for a, b in islice(pairs, ATTEMPTS):
            pair = tied([a, b])
            if not self.fault([pair], ()) or self._attributes(pair) is not None:
                near = [one for one in sets if a in one or b in one]
                joined = dict.fromkeys([*(group for one in near for group in one), a, b])
                sets = [one for one in sets if one not in near] + [list(joined)]
        yield from (tied(one) for one in sets)

    def _together(self, free: list[Group], attributes: list[Attribute], frozen: dict[str, str]) -> Probed:
        """Groups that run alone, and now together: as few as possible are given up until they do."""
        while free and (fault := self.fault(free, attributes)):
            others = ([one for one in free if one is not group] for group in free)
            better = next((rest for rest in others if not self.fault(rest, attributes)), free[:-1])
            (gone,) = (group for group in free if group not in better)
            free = better
            frozen[gone.name] = f"beside other groups {fault}"
            attributes = [one for one in attributes if gone.name not in one.groups]
        return Probed(tuple(free), tuple(attributes), frozen, self.tried if free else None)

    def _fault_in_training(self, cut: nn.Module) -> str:
        try:
            _run(copy.deepcopy(cut), self.examples, training=True)
        except Exception as error:
            return f"it runs in evaluation mode only: in training, {_first_line(error)}"
        return ""


def draws(sizes: Sequence[int]) -> list[list[int]]:
    """A number below its size for each group, in a few draws: each has one above 0 in one of them, and in one of them
    two groups of equal size have different ones (digits of their number among those of that size). Groups lose units
    by these numbers, so that none passes only because another lost as many."""
    numbers: list[int] = []
    for place, size in enumerate(sizes):
        numbers.append(1 + sizes[:place].count(size))
    found: list[list[int]] = []
    power = 0
    while not found or any(number >= size**power for number, size in zip(numbers, sizes, strict=True)):
        found.append([number // size**power % size for number, size in zip(numbers, sizes, strict=True)])
        power += 1
    return found


def _quarter(size: int, number: int) -> int:
    """How many units a group loses: so many more than a quarter, around its size, and never none."""
    return (size // 4 + number) % size or size // 2


def _width(group: Group) -> int:
    """Channels of a space inside of blocks; of blocks, those of the first space inside them."""
    return group.rows.size if group.kind != "blocks" else group.size * len(next(iter(group.holds.values())))


def _some(group: Group, stay: int, random: np.random.Generator) -> list[list[int]]:
    """Random places that stay in each row, as many in each."""
    return [sorted(random.permutation(group.size)[:stay].tolist()) for _ in group.rows]


def _run(module: nn.Module, examples: Sequence[Tensor], training: bool = False) -> list[Tensor]:
    """The tensors that a module gives, its norms levelled."""
    with torch.no_grad(), Levelled():
        if training:
            return _tensors(module.train()(*examples))
        with evaluating(module):
            return _tensors(module(*examples))


def _tensors(value: object) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [one for part in value for one in _tensors(part)] if isinstance(value, list | tuple) else []


def _close(found: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    for one, other in zip(found, expected, strict=True):
        if not one.is_floating_point():
            continue
        size = float(other.abs().max()) if other.numel() else 0.0
        rounding = torch.finfo(one.dtype).eps ** 0.5 * max(size, 1e-12)  # a wrong channel differs by far more
        if not float((one - other).abs().max() if other.numel() else 0.0) <= rounding:
            return False
    return True


def _different(chosen: Sequence[Attribute]) -> bool:
    """No attribute is set twice."""
    return len({(one.module, one.name) for one in chosen}) == len(chosen)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return " ".join((lines[0] if lines else type(error).__name__).split())[:160]
