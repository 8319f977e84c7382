"""Few-shot NAS: the supernet is split in two, and again, while it is trained, where its gradients conflict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
from torch import nn
from torch.optim import Optimizer

from nasplat.data import derived_seed
from nasplat.elastic import ElasticSpace
from nasplat.elastic.weights.replace import SHARING, Place, register, replace_sources
from nasplat.elastic.weights.tree import ForkedSource, Tree
from nasplat.errors import NasplatError, TrainingError, expected_one_of
from nasplat.space import Choice, Value
from nasplat.supernet.mixtures.base import Mixture, Setting
from nasplat.supernet.mixtures.inherit import inherit
from nasplat.supernet.mixtures.linear import check_copies
from nasplat.supernet.mixtures.min_cut import min_cut
from nasplat.supernet.mixtures.phases import insert
from nasplat.supernet.place import device_of
from nasplat.supernet.probes.conflict import GradientConflict, open_choices
from nasplat.supernet.probes.look import Look, untouched
from nasplat.supernet.recipe import expect
from nasplat.supernet.schedule import Schedule
from nasplat.supernet.world import this_world

SPLIT = 6  # what a seed is derived for, beside those of the training


@dataclass(frozen=True, slots=True)
class FewShot(Mixture):
    """Every leaf of a tree of architectures is split in two at given times, so that 2^splits weight sets come out.

    Few-shot NAS (arXiv:2006.06863) with the splits of gradient matching (arXiv:2203.15207): by the choice whose options
    pull the shared weights into the most different directions, and into the two groups that agree most within.
    Until then the supernet is the plain one. What has no source, such as running statistics, stays shared by all.
    Memory is that of 2^splits weight sets from the start.

    splits: rounds of splits. at: the share of all steps before each, rising, above 0 and below 1; by default at equal
    distances up to a half. Warm-ups and phases of the method stay where they are.
    by: "gradient"; "random", a random choice in random halves; or the name of a choice, in halves by its order.
    start: "inherit", both children start from the parent's weights and the optimiser's averages; "restart", anew;
    "restart_last", anew at the last round only. A leaf with nothing left to split stays as it is.
    repeats, batch: of the probe: for every option of every choice, `repeats` passes of `batch` examples each.

    Control: random splits at the same times.
    """

    control: ClassVar[Mapping[str, Any] | None] = {"kind": "split", "by": "random"}
    executions: ClassVar[tuple[str, ...]] = ("slice",)

    splits: int = 2
    at: tuple[float, ...] = ()
    by: str = "gradient"
    start: str = "inherit"
    repeats: int = 16
    batch: int = 64

    def __post_init__(self) -> None:
        expect("splits", self.splits, 1 <= self.splits <= 8, "1 to 8 rounds, for 2 to 256 weight sets")
        rising = list(self.at) == sorted(set(self.at)) and all(0 < share < 1 for share in self.at)
        fits = rising and len(self.at) in (0, self.splits)
        expect("at", list(self.at), fits, f"{self.splits} rising shares of the steps, above 0 and below 1")
        expect("start", self.start, self.start in STARTS, f"one of {', '.join(STARTS)}")
        expect("repeats", self.repeats, self.repeats >= 1, "at least 1")
        expect("batch", self.batch, self.batch >= 1, "at least 1")

    def apply(self, net: nn.Module, space: ElasticSpace) -> None:
        self._check(space)
        check_copies(net, self.layers, 2**self.splits, f"{2**self.splits} leaves")
        tree = Tree(space.choices, self.splits)

        def source(place: Place) -> ForkedSource:
            return ForkedSource(place.source, tree, place.name)

        replace_sources(net, source, self.layers)
        register(net, SHARING, tree)

    def _check(self, space: ElasticSpace) -> None:
        leaves, names = 2**self.splits, [choice.name for choice in space.choices]
        if leaves > space.size:
            raise NasplatError(
                f"splits = {self.splits}: {leaves} weight sets for {space.size} architectures; lower it"
            )
        if self.by in PICKS:
            return
        if self.by not in names:
            raise NasplatError(
                f"by = {self.by!r}: {space.name} has no such choice; {expected_one_of(self.by, [*PICKS, *names])}"
            )
        values = len(space.choices[names.index(self.by)].values)
        if leaves // 2 >= values:
            raise NasplatError(
                f"splits = {self.splits}: {self.by} has only {values} values to split by; lower it"
            )

    def schedule(self, schedule: Schedule, at: Setting) -> Schedule:
        """The same phases, cut where a split comes into the middle of one.

        TrainingError where the training is so short that two splits come at once, or one before the first step.
        """
        steps = at.recipe.epochs * at.steps_per_epoch
        shares = self.at or [(n + 1) / (2 * self.splits) for n in range(self.splits)]
        times = [round(share * steps) for share in shares]
        if times[0] == 0 or times[-1] == steps or len(set(times)) < self.splits:
            raise TrainingError(
                f"a training of {steps} steps is too short for splits before the steps {times}: give more epochs"
            )
        for depth, step in enumerate(times):
            schedule = insert(schedule, Split(self, at, depth), step, steps)
        return self.marked(schedule)


STARTS = ("inherit", "restart", "restart_last")

Pick: TypeAlias = tuple[
    Choice, tuple[Value, ...]
]  # a choice, and those of its values that go to the second child


def by_gradient(mixture: FewShot, at: Look) -> Pick:
    """The choice and the groups that separate most of the conflict."""
    probe = GradientConflict(repeats=mixture.repeats, batch=mixture.batch)
    with untouched(at.net, at.device):
        cuts = [(choice, min_cut(probe.matrix(at, choice))) for choice in open_choices(at.space)]
    choice, cut = max(cuts, key=lambda found: found[1].score)
    return choice, tuple(choice.values[k] for k in cut.groups[1])


def by_chance(mixture: FewShot, at: Look) -> Pick:
    """A random choice in random halves, the second the smaller one."""
    rng, choices = np.random.default_rng(at.seed), open_choices(at.space)
    choice = choices[int(rng.integers(len(choices)))]
    return choice, tuple(
        choice.values[k] for k in rng.permutation(len(choice.values))[: len(choice.values) // 2]
    )


PICKS: dict[str, Callable[[FewShot, Look], Pick]] = {"gradient": by_gradient, "random": by_chance}
"""How a leaf is split, by the names of `by`, beside those of choices."""


@dataclass(frozen=True, slots=True)
class Split:
    """Splits every leaf at a depth of the network's tree into two, each with weights of its own.

    In several processes the main one's splits hold for all.
    """

    mixture: FewShot
    at: Setting
    depth: int

    @property
    def exact(self) -> bool:
        """Children that inherit compute what their parent did."""
        return not self._restarts

    @property
    def _restarts(self) -> bool:
        last = self.depth == self.mixture.splits - 1
        return self.mixture.start == "restart" or (self.mixture.start == "restart_last" and last)

    def __call__(self, net: nn.Module, optimiser: Optimizer) -> None:
        tree = net.get_submodule(SHARING)
        assert isinstance(tree, Tree)
        picks = {node: self._pick(net, tree, node) for node, *_ in tree.nodes(self.depth)}
        for node, pick in picks.items():
            if pick is not None:
                tree.split(node, pick[0].name, pick[1])
        this_world().follow_main(tree)
        for node, first, second in tree.nodes(self.depth):
            if tree.forks()[node] is not None:
                self._start(net, optimiser, first, second)

    def _pick(self, net: nn.Module, tree: Tree, node: int) -> Pick | None:
        """How a node is split; None where nothing of it is left to split."""
        space, device = tree.part(self.at.space, node), device_of(net)
        look = Look(net, space, self.at.data, 0, device, derived_seed(self.at.seed, SPLIT, node))
        if self.mixture.by in PICKS:
            return PICKS[self.mixture.by](self.mixture, look) if open_choices(space) else None
        for choice in open_choices(space):
            if choice.name == self.mixture.by:
                return choice, choice.values[(len(choice.values) + 1) // 2 :]
        return None

    def _start(self, net: nn.Module, optimiser: Optimizer, first: int, second: int) -> None:
        """Give the children of a leaf the weights that they start from."""
        for source in (module for module in net.modules() if isinstance(module, ForkedSource)):
            for parent, child in zip(source.weights(first), source.weights(second), strict=True):
                inherit(parent, child, optimiser)
            for leaf in (first, second) if self._restarts else ():
                source.reset(leaf)
                for weight in source.weights(leaf):
                    optimiser.state.pop(weight, None)
