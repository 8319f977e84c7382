"""Architectures assigned to experts by scores that are learned: one complete set of weights for each expert.

Balanced Mixture of SuperNets (arXiv:2306.11982): a row for each architecture, or for each combination of values of a
few choices, a score for each expert. Whoever trains the supernet names the expert in the architecture; else a row
has the one that its probabilities prefer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypeAlias

import torch
from torch import Tensor, nn

from nasplat.elastic.weights.reading import LastRead
from nasplat.elastic.weights.replace import Place, mixes_already
from nasplat.elastic.weights.soft import AnyArch, SoftArch
from nasplat.elastic.weights.sources import Coefficient, Router, WeightSource
from nasplat.elastic.weights.streaming import expert_source
from nasplat.errors import InvalidArchitecture, NasplatError, expected_one_of
from nasplat.space import Arch, Space, Value

EXPERT = "expert"  # the choice that names the expert in an architecture
MOST_ROWS = 100_000

Values: TypeAlias = tuple[tuple[str, Value], ...]


def with_expert(arch: Mapping[str, Value], expert: int) -> Arch:
    """The architecture with the weights of an expert."""
    return Arch({**arch, EXPERT: expert})


def without_expert(arch: Mapping[str, Value]) -> Arch:
    """The architecture alone."""
    return Arch({name: value for name, value in arch.items() if name != EXPERT})


@dataclass(frozen=True, slots=True)
class Rows:
    """The combinations of values that some choices have in the architectures of a space, numbered from 0.

    An inactive choice has no value in a combination.
    """

    names: tuple[str, ...]
    numbers: Mapping[Values, int] = field(repr=False)

    @classmethod
    def of(cls, space: Space, names: Sequence[str] = ()) -> Self:
        """The rows of the named choices, of all by default.

        NasplatError for an unknown name, and for more than 100,000 combinations.
        """
        known = [choice.name for choice in space.choices]
        for name in names:
            if name not in known:
                raise NasplatError(f"{space.name} has no choice {name!r}; {expected_one_of(name, known)}")
        named = tuple(name for name in known if name in names or not names)
        asked = set(named)
        for choice in reversed(space.choices):  # and whatever decides whether they are active
            asked.update(other for other, _ in choice.when if choice.name in asked)
        part = Space(space.name, [choice for choice in space.choices if choice.name in asked])
        if part.size > MOST_ROWS:
            asking = ", ".join(choice.name for choice in part.choices)
            raise NasplatError(
                f"{asking} have {part.size:,} combinations: expected at most {MOST_ROWS:,}; "
                "let the expert depend on fewer choices"
            )
        found = dict.fromkeys(_values(named, arch) for arch in part.enumerate())
        return cls(named, {values: number for number, values in enumerate(found)})

    def __len__(self) -> int:
        return len(self.numbers)

    def __call__(self, arch: Mapping[str, Value]) -> int:
        """The row of an architecture; InvalidArchitecture where there is none."""
        values = _values(self.names, arch)
        if values not in self.numbers:
            raise InvalidArchitecture(
                f"no expert is for {dict(values)}: give an architecture of the space that was shared"
            )
        return self.numbers[values]

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # it never changes


def _values(names: Sequence[str], arch: Mapping[str, Value]) -> Values:
    return tuple((name, arch[name]) for name in names if name in arch)


class AssignedRouter(nn.Module):
    """The expert of an architecture, for all layers of a network alike: one-hot coefficients.

    That is arch["expert"] where the architecture names one; else the most probable of its row. A soft architecture
    mixes the experts by the probabilities of its choice "expert".
    `scores` and `probabilities` (rows, experts) are set by whoever trains: larger scores are better. As buffers they
    are saved with the weights.
    """

    scores: Tensor
    probabilities: Tensor

    def __init__(self, rows: Rows, experts: int) -> None:
        super().__init__()
        self.rows, self.experts = rows, experts
        self.register_buffer("scores", torch.ones(len(rows), experts))
        self.register_buffer("probabilities", torch.full((len(rows), experts), 1 / experts))
        self._owners = LastRead([0] * len(rows))

    def forward(self, arch: AnyArch) -> Sequence[Coefficient]:
        if isinstance(arch, SoftArch):
            if EXPERT not in arch.choices:
                raise InvalidArchitecture(
                    f"a soft architecture needs probabilities of {EXPERT!r}: extend its space"
                )
            return arch.probabilities[EXPERT].unbind()
        picked = self.expert(arch)
        return [1.0 if k == picked else 0.0 for k in range(self.experts)]

    def expert(self, arch: Mapping[str, Value]) -> int:
        """The number of the expert; InvalidArchitecture for one that there is not."""
        if EXPERT not in arch:
            return self.owners[self.rows(arch)]
        named = arch[EXPERT]
        if type(named) is not int or not 0 <= named < self.experts:
            raise InvalidArchitecture(f"{EXPERT} is {named!r}: expected 0 to {self.experts - 1}")
        return named

    @torch.no_grad()
    def feed_back(self, arch: Mapping[str, Value], score: Tensor, rate: float) -> None:
        """Move the score of the architecture's row with its expert: W <- (1 - rate) W + rate score."""
        self.scores[self.rows(arch), self.expert(arch)].mul_(1 - rate).add_(score, alpha=rate)

    @property
    def owners(self) -> list[int]:
        """The most probable expert of each row."""
        return self._owners(lambda: self.probabilities.argmax(1).tolist(), self.probabilities)

    @property
    def owned(self) -> list[int]:
        """The number of rows that each expert has."""
        counts = Counter(self.owners)
        return [counts[expert] for expert in range(self.experts)]


@dataclass(frozen=True, slots=True)
class Assigned:
    """The coefficients of a layer whose own router, of K atoms, is kept inside every expert: atom e * K + k.

    It holds the router that all layers share, which is registered once, on the network.
    """

    shared: AssignedRouter
    own: Router

    def __call__(self, arch: AnyArch) -> Sequence[Coefficient]:
        inner = self.own(arch)
        return [_product(e, k) for e in self.shared(arch) for k in inner]


def _product(expert: Coefficient, atom: Coefficient) -> Coefficient:
    """The product, which is a plain 0.0 where an atom is to be left out of the graph."""
    left_out = any(isinstance(c, float) and c == 0.0 for c in (expert, atom))
    return 0.0 if left_out else expert * atom


def assigned_sources(router: AssignedRouter, *, stream: bool = False) -> Callable[[Place], WeightSource]:
    """What gives a layer a copy of all its atoms for each expert: fresh ones, but for the first, which has the old.

    NasplatError, with the layer's name, where coefficients are learned: experts would have them in common.
    """

    @torch.no_grad()
    def source(place: Place) -> WeightSource:
        old = place.source
        if isinstance(old.router, nn.Module):
            raise mixes_already(place.name, old.router)
        new = expert_source(old, Assigned(router, old.router), router.experts * len(old.bank), stream=stream)
        for name in old.bank.slot.tensors:
            for ours, theirs in zip(new.bank.atoms(name), old.bank.atoms(name), strict=False):
                ours.copy_(theirs)
        return new

    return source
