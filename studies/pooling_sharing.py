"""Ways to share weights among pooling layouts that the studies try beside those of nasplat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.optim import Optimizer

from nasplat.elastic import Bank, ElasticSpace, Key, OneHot, WeightSource
from nasplat.elastic.weights.replace import Place, places, replace_sources
from nasplat.space import Arch, Value, positions_of, runs
from nasplat.supernet import Judge
from nasplat.supernet.mixtures import Mixture, make_mixture
from nasplat.supernet.mixtures.inherit import inherit
from nasplat.supernet.mixtures.linear import widened

LAYOUT = "pools"  # the choice of the space


@dataclass(frozen=True, slots=True)
class Turns:
    """A policy of one architecture a step: all of them in a random order, then again.

    Each is visited exactly as often as any other ("strict fairness" of FairNAS, arXiv:1907.01845).
    """

    archs: tuple[Arch, ...]
    seed: int = 0

    def ask(self, step: int, judge: Judge) -> list[Arch]:
        turn, place = divmod(step, len(self.archs))
        order = np.random.default_rng([self.seed, turn]).permutation(len(self.archs))
        return [self.archs[order[place]]]

    def tell(self, archs: Sequence[Arch], losses: Sequence[Tensor]) -> None:
        """Nothing to learn."""


@dataclass(frozen=True, slots=True)
class Branch:
    """A morphism from one set of weights to a mixture's: each of its sets starts as the shared one, momentum too."""

    mixture: Mixture
    space: ElasticSpace
    exact = True

    def __call__(self, net: nn.Module, optimiser: Optimizer) -> None:
        shared = {(place.name, place.attribute): place.source.bank for place in places(net)}
        self.mixture.apply(net, self.space)
        for place in places(net):
            _start(place.source.bank, shared[place.name, place.attribute], optimiser)


def _start(bank: Bank, shared: Bank, optimiser: Optimizer) -> None:
    """Copy the one atom of a bank into all of another, which takes its place in the optimiser."""
    bank.to(next(shared.parameters()).device)
    for name in bank.slot.tensors:
        (old,) = shared.atoms(name)
        atoms = bank.atoms(name)
        for atom in atoms:
            inherit(old, atom, optimiser)
        optimiser.state.pop(old, None)
        for group in optimiser.param_groups:
            group["params"] = [new for p in group["params"] for new in (atoms if p is old else [p])]


@dataclass(frozen=True, slots=True)
class ByScale(Mixture):
    """A block's weights depend on how many pools come before it, and on nothing else of the layout.

    So no weight ever sees two scales, and layouts share every block that sits at the same scale in both.
    """

    def apply(self, net: nn.Module, space: ElasticSpace) -> None:
        scales = len(runs(str(space.choices[0].values[0])))

        def source(place: Place) -> WeightSource:
            key = Key((LAYOUT,), scales, partial(_scale, _number(place.name)))
            return WeightSource(widened(place.source.bank, scales), OneHot(key), place.source.crop)

        replace_sources(net, source, self.layers)


def _number(name: str) -> int:
    """The number of the block, from 0, in the name of one of its layers; the head belongs to the last one."""
    numbers = [int(part) for part in name.split(".") if part.isdigit()]
    return numbers[0] if numbers else 10**6


def _scale(block: int, arch: Mapping[str, Value]) -> int:
    """The number of pools before a block."""
    return sum(slot < block for slot in positions_of(str(arch[LAYOUT])))  # slot 0 is before block 1


def mixture_of(table: Mapping[str, Any]) -> Mixture:
    """The mixture of a table as a study file has it, or {"kind": "scale"}."""
    return ByScale() if table["kind"] == "scale" else make_mixture(table)
