"""The ways of pruning that are compared: equal epochs of training in all, of which some spend a part before the cut."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

from proposals import SET_AWARE_NET, Case, Propose, greedy, set_aware
from torch import nn
from training import EXAMPLE, finetune, losses

from nasplat.prune import Plan, PruneSettings, plan_of, prunable
from nasplat.prune.meta import Pruner
from nasplat.prune.planning import Target, scored
from nasplat.prune.regularisers import GroupSparsity, Regulariser, ScaleL1
from nasplat.prune.setaware import SetAware

UNPRUNED, METANETWORK, SET_AWARE = "unpruned", "metanetwork", "set-aware metanetwork"
PRUNER = "prune_cifar_resnets"
SLIMMING, GROUP_SPARSITY = ScaleL1(2e-3), GroupSparsity(1e-3)
"""Strengths that did best at 3x on the held-out network resnet20_7-14-28_seed104, on validation images."""


@dataclass(frozen=True, slots=True)
class Method:
    """prepare: makes a network easy to prune, in `first` epochs; None: nothing is done before the cut.

    What stays is chosen by a score, all groups together, or by `propose`.
    """

    score: str = "l2"
    prepare: Callable[[Case], nn.Module] | None = None
    propose: Propose | None = None

    def plan(self, case: Case, network: nn.Module, speedup: float) -> Plan:
        """Which channels stay."""
        settings = PruneSettings(seed=case.seed)
        before = prunable(network, EXAMPLE, settings.choice)
        if self.propose is None:
            target = Target(speedup=speedup)
            return plan_of(before, scored(self.score), target, settings, losses(case.data), name=self.score)
        kept = self.propose(case, before, speedup)
        return before.plan(kept, score=self.propose.__name__, target=f"speedup = {speedup:g}")


def trained(regulariser: Regulariser | None = None) -> Callable[[Case], nn.Module]:
    """Train on, as the network is or while channels are pulled towards zero."""

    def prepare(case: Case) -> nn.Module:
        network = deepcopy(case.network)
        finetune(network, case.data, case.size.first, case.seed, regulariser)
        return network

    return prepare


def rewritten(case: Case) -> nn.Module:
    """Rewrite by the metanetwork, then train on."""
    network = Pruner.load(PRUNER).rewrite(case.network, EXAMPLE)
    finetune(network, case.data, case.size.first, case.seed)
    return network


METHODS: dict[str, Method] = {
    UNPRUNED: Method(),
    "random": Method("random"),
    "L2": Method(),
    "BN scale": Method("bn_scale"),
    "L2, trained first": Method("l2", trained()),
    "L1 sparse training": Method("bn_scale", trained(SLIMMING)),
    "group-sparse training": Method("l2", trained(GROUP_SPARSITY)),
    "greedy": Method(propose=greedy),
    METANETWORK: Method("l2", rewritten),
    SET_AWARE: Method(propose=set_aware),
}

META_SECONDS: dict[str, Callable[[], float]] = {
    METANETWORK: lambda: sum(epoch.seconds for epoch in Pruner.load(PRUNER).card.epochs),
    SET_AWARE: lambda: SetAware.load(SET_AWARE_NET).card.epochs[-1].seconds,
}
"""What training each metanetwork took."""
