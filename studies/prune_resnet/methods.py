"""The ways of pruning that are compared: equal epochs of training in all, of which some spend a part before the cut."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial

from proposals import Case, Propose, Size, greedy, load_set_aware, quick_greedy, set_aware
from torch import nn
from training import EXAMPLE, finetune, losses

from nasplat.prune import Plan, PruneSettings, plan_of, prunable
from nasplat.prune.meta import Pruner
from nasplat.prune.planning import Target, scored
from nasplat.prune.regularisers import GroupSparsity, Regulariser, ScaleL1

UNPRUNED, METANETWORK, AT_ONCE = "unpruned", "metanetwork", "metanetwork, at once"
SET_AWARE = "set-aware metanetwork"
PRUNERS = {METANETWORK: "prune_cifar_resnets", AT_ONCE: "prune_cifar_resnets_at_once"}
SLIMMING, GROUP_SPARSITY = ScaleL1(2e-3), GroupSparsity(2e-3)
"""Strengths that did best at 3x on the held-out network resnet20_7-14-28_seed104, on validation images."""


@dataclass(frozen=True, slots=True)
class Method:
    """prepare: makes a network easy to prune, in `first` epochs if it `spends` them; None: nothing is done before.

    What stays is chosen by a score, all groups together, or by `propose`.
    """

    score: str = "l2"
    prepare: Callable[[Case], nn.Module] | None = None
    propose: Propose | None = None
    spends: bool = True

    def plan(self, case: Case, network: nn.Module, speedup: float) -> Plan:
        """Which channels stay."""
        settings = PruneSettings(seed=case.seed)
        before = prunable(network, EXAMPLE, settings.choice)
        if self.propose is None:
            target = Target(speedup=speedup)
            return plan_of(before, scored(self.score), target, settings, losses(case.data), name=self.score)
        kept = self.propose(case, before, speedup)
        return before.plan(kept, score=self.propose.__name__, target=f"speedup = {speedup:g}")

    def epochs_before(self, size: Size) -> int:
        """Of training, before the cut."""
        return size.first if self.prepare is not None and self.spends else 0


def trained(regulariser: Regulariser | None = None) -> Callable[[Case], nn.Module]:
    """Train on, as the network is or while channels are pulled towards zero."""

    def prepare(case: Case) -> nn.Module:
        network = deepcopy(case.network)
        finetune(network, case.data, case.size.first, case.seed, regulariser)
        return network

    return prepare


def rewritten(regulariser: Regulariser | None = None) -> Callable[[Case], nn.Module]:
    """Rewrite by the metanetwork, then train on."""

    def prepare(case: Case) -> nn.Module:
        network = Pruner.load(PRUNERS[METANETWORK]).rewrite(case.network, EXAMPLE)
        finetune(network, case.data, case.size.first, case.seed, regulariser)
        return network

    return prepare


def rewritten_at_once(case: Case) -> nn.Module:
    """Rewrite by the metanetwork that learned through the cut; all training comes after it."""
    return Pruner.load(PRUNERS[AT_ONCE]).rewrite(case.network, EXAMPLE)


FIRST_ROUND = 630.0 + 622.0 + 110.0
"""Seconds before the last round of the set-aware metanetwork: masks and epochs of the first, then more masks."""


def seconds_of(pruner: str) -> float:
    """What training a metanetwork took, as its card says."""
    return sum(epoch.seconds for epoch in Pruner.load(pruner).card.epochs)


METHODS: dict[str, Method] = {
    UNPRUNED: Method(),
    "random": Method("random"),
    "L2": Method(),
    "BN scale": Method("bn_scale"),
    "L2, trained first": Method("l2", trained()),
    "L1 sparse training": Method("bn_scale", trained(SLIMMING)),
    "group-sparse training": Method("l2", trained(GROUP_SPARSITY)),
    "greedy": Method(propose=greedy),
    "quick greedy": Method(propose=quick_greedy),
    METANETWORK: Method("l2", rewritten()),
    AT_ONCE: Method("l2", rewritten_at_once, spends=False),
    f"{METANETWORK}, group-sparse training": Method("l2", rewritten(GROUP_SPARSITY)),
    SET_AWARE: Method(propose=set_aware),
}

META_SECONDS: dict[str, Callable[[], float]] = {
    **{name: partial(seconds_of, pruner) for name, pruner in PRUNERS.items()},
    SET_AWARE: lambda: FIRST_ROUND + load_set_aware().card.epochs[-1].seconds,
}
"""What training each metanetwork took."""
