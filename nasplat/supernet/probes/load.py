"""How often everything was trained: values of choices, sizes of networks, atoms of weight banks."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from nasplat.elastic import ElasticSpace, Key, OneHot, WeightSource
from nasplat.elastic.weights.assigned import EXPERT, AssignedRouter
from nasplat.errors import NasplatError
from nasplat.space import Additive, Arch, Choice, Space
from nasplat.supernet.bins import mac_totals
from nasplat.supernet.policy import Judge, Policy
from nasplat.supernet.probes.look import Look
from nasplat.supernet.schedule import Schedule, Stateful

TALLY = "tally"  # the name in checkpoints


class Tally:
    """Writes down which architectures the policies of a schedule ask for, until somebody takes the list.

    A policy that is watched is asked and told as before; writing down costs it nothing that could be measured.
    """

    def __init__(self, space: Space, recording: bool = True) -> None:
        self.space, self.recording = space, recording
        self._archs: list[Arch] = []

    def watch(self, schedule: Schedule) -> Schedule:
        """The same schedule, its policies watched."""
        return schedule.wrapped(lambda policy, first: Watched(policy, self, keeps=first))

    def take(self) -> list[Arch]:
        """What was asked for since the last time, in order."""
        taken, self._archs = self._archs, []
        return taken

    def note(self, archs: Iterable[Arch]) -> None:
        """Write down, if recording."""
        if self.recording:
            self._archs.extend(archs)

    def state(self) -> dict[str, Tensor]:
        """The list as positions of values (architectures, choices), -1 for an inactive choice; empty when it is."""
        if not self._archs:
            return {}
        columns = [(c.name, {v: i for i, v in enumerate(c.values)}) for c in self.space.choices]
        rows = [[at[a[name]] if name in a else -1 for name, at in columns] for a in self._archs]
        return {TALLY: torch.tensor(rows, dtype=torch.int32)}

    def restore(self, positions: Tensor) -> None:
        """Take up a list that `state` gave."""
        rows = positions.tolist()
        self._archs = []
        self.note(_arch(self.space.choices, row) for row in rows)


@dataclass(frozen=True, slots=True)
class Watched:
    """A policy with a tally beside it; whatever the policy learns stays its own.

    keeps: whether the tally, which several policies share, is part of this one's state.
    """

    policy: Policy
    tally: Tally
    keeps: bool = True

    def ask(self, step: int, judge: Judge) -> list[Arch]:
        archs = self.policy.ask(step, judge)
        self.tally.note(archs)
        return archs

    def tell(self, archs: Sequence[Arch], losses: Sequence[Tensor]) -> None:
        self.policy.tell(archs, losses)

    def state(self) -> dict[str, Tensor]:
        """The state of the policy, if it learns, and the tally's, if it is kept here."""
        learned = self.policy.state() if isinstance(self.policy, Stateful) else {}
        return learned | (self.tally.state() if self.keeps else {})

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Give both what is theirs."""
        learned = {name: tensor for name, tensor in state.items() if name != TALLY}
        if learned and isinstance(self.policy, Stateful):
            self.policy.restore(learned)
        if TALLY in state:
            self.tally.restore(state[TALLY])


@dataclass(frozen=True, slots=True)
class Load:
    """How often each value of each choice, each bin of MACs and each one-hot atom was trained since the last look.

    "architectures" counts all visits, "choices" those of each value, "atoms" those of each atom of a bank that a key
    picks from, "macs" those of `bins` equal bins of multiply-adds from the smallest to the largest network, by their
    lower end (none where the cost of a network is no sum of tables: see `mac_terms`). A balanced mixture adds
    "experts", the visits of each expert, and "owned", how many rows of its scores prefer each now. Cost: some 0.1 ms
    for each architecture, at the look, and seconds for the tables at the first one; the loop only keeps a list.
    Sources: balanced mixtures count atoms (arXiv:2306.11982), ShiftNAS bins (arXiv:2307.08300).
    """

    bins: int = 8
    unit: ClassVar[str] = "architectures"

    def __call__(self, at: Look, before: Mapping[str, Any] | None) -> Mapping[str, Any]:
        visits = Counter(at.asked)
        return {
            "architectures": visits.total(),
            "choices": {choice.name: _values(choice, visits) for choice in at.space.choices},
            "atoms": atoms(at.net, visits),
            **experts(at.net, visits),
            "macs": _binned(at.space, visits, self.bins),
        }


def _values(choice: Choice, visits: Counter[Arch]) -> dict[str, int]:
    """Visits of each value of a choice, where it was active."""
    found = Counter[str]()
    for arch, times in visits.items():
        if choice.name in arch:
            found[str(arch[choice.name])] += times
    return {str(value): found[str(value)] for value in choice.values}


def _binned(space: Space, visits: Counter[Arch], bins: int) -> dict[str, int]:
    """Visits of each bin of multiply-adds; none where a network's cost is not known as a sum of tables."""
    cost = _cost(space) if isinstance(space, ElasticSpace) and space.input_shape else None
    if cost is None:
        return {}
    edges, found = cost.edges(bins), Counter[int]()
    for arch, times in visits.items():
        found[edges[bisect_right(edges, cost.total(arch)) - 1]] += times
    return {str(low): found[low] for low in edges[:-1]}


@lru_cache(maxsize=1)  # also what is not known takes seconds to find out
def _cost(space: ElasticSpace) -> Additive | None:
    try:
        return mac_totals(space)
    except NasplatError:
        return None


def atoms(net: nn.Module, visits: Counter[Arch]) -> dict[str, dict[str, int]]:
    """Visits of each atom of the banks that a key picks from; banks of the same key count once, by the first's name."""
    routed: dict[Key, str] = {}
    for name, module in net.named_modules():
        if isinstance(module, WeightSource) and isinstance(module.router, OneHot):
            routed.setdefault(module.router.key, name)
    return {name: _picked(key, visits) for key, name in routed.items()}


def experts(net: nn.Module, visits: Counter[Arch]) -> dict[str, dict[str, int]]:
    """Visits of each expert that architectures named, and its rows; nothing where no expert is assigned."""
    router = next((module for module in net.modules() if isinstance(module, AssignedRouter)), None)
    if router is None:
        return {}
    found = Counter[object]()
    for arch, times in visits.items():
        found[arch.get(EXPERT)] += times
    numbers = range(router.experts)
    owned = zip(numbers, router.owned, strict=True)
    return {"experts": {str(k): found[k] for k in numbers}, "owned": {str(k): rows for k, rows in owned}}


def _picked(key: Key, visits: Counter[Arch]) -> dict[str, int]:
    found = Counter[int]()
    for arch, times in visits.items():
        found[key(arch)] += times
    return {str(number): found[number] for number in range(len(key))}


def _arch(choices: Sequence[Choice], positions: Sequence[int]) -> Arch:
    pairs = zip(choices, positions, strict=True)
    return Arch({choice.name: choice.values[p] for choice, p in pairs if p >= 0})
