"""Pruned versions of one trained network: which share of its channels every group keeps.

A network pruning space (arXiv:2304.09453): a choice for each group of channels that can be cut, whose values are shares
that stay; which channels these are, a score says. Networks come with the weights of the trained one, so that any metric
of a study speaks of pruning: `params`, `macs` and `latency` at once, `accuracy` after the finetuning that its recipe
says (epochs, learning_rate, ...), `nasplat.spaces.pruning:after_cutting` without any, with recalibrated norms only.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cached_property
from glob import escape
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn

from nasplat.data import Dataset, batches, evaluate, generator, random_inputs
from nasplat.elastic import recalibrate
from nasplat.errors import NasplatError, expected_one_of
from nasplat.prune import SCORES, Evidence, Plan, Prunable, PruneSettings, Target, plan_of, prunable
from nasplat.space import Arch, Space, SpaceFactory, ordinal
from nasplat.table import Listed

from ._pruned_network import Whole, whole_network

RATIOS = (0.25, 0.5, 0.75, 1.0)
POPULATION = 2000
"""Random architectures that a ratio filter looks at, where there are more."""
CALIBRATION = 8
"""Batches of 64 that norms are recalibrated on."""


class PruningSpace(Space):
    """Shares that stay of the groups of a network, and what is left then.

    whole: the network; network: its trace. groups: by the name of a choice the groups that it decides on. score: which
    channels go first.
    """

    def __init__(
        self,
        whole: Whole,
        network: Prunable,
        groups: Mapping[str, Sequence[str]],
        score: str,
        settings: PruneSettings,
        **facts: Any,
    ) -> None:
        self.whole, self.network, self.settings = whole, network, settings
        self.groups, self.score = {name: tuple(own) for name, own in groups.items()}, score
        ratios: Sequence[float] = facts.pop("ratios")
        super().__init__("pruning", [ordinal(n, ratios) for n in groups], build=self._cut, **facts)

    def plan(self, arch: Mapping[str, Any]) -> Plan:
        """What stays in an architecture; `plan.apply` cuts the whole network, or one of its form."""
        shares = {escape(group): float(arch[name]) for name, own in self.groups.items() for group in own}
        measure, target = (lambda evidence: self._importance), Target(keep_ratio=shares)
        return plan_of(self.network, measure, target, self.settings, None, self.score)

    def ratio(self, arch: Mapping[str, Any]) -> float:
        """The share of multiply-adds that stays over the share of parameters that stays: 1 for the whole network."""
        plan = self.plan(arch)
        if plan.macs is None or plan.params is None:
            raise NasplatError("the plan counts no multiply-adds or parameters, so it has no ratio")
        return (plan.macs[1] / plan.macs[0]) / (plan.params[1] / plan.params[0])

    def likely_ratios(
        self, archs: Sequence[Mapping[str, Any]], values: Sequence[float], seed: int = 0
    ) -> tuple[float, float, float]:
        """Where the ratio of good architectures lies: what a first study says to the filter of the next.

        archs and their values (n,), higher is better, of about equal size, since ratios of winners differ by regime.
        The empirical bootstrap of RegNet (arXiv:2003.13678): of the best of a quarter of them, drawn 2,500 times with
        replacement, the 2.5, 50 and 97.5 percentiles.
        """
        if not archs or len(archs) != len(values):
            raise NasplatError(f"{len(archs)} architectures have {len(values)} values: give one for each")
        ratios = np.array([self.ratio(arch) for arch in archs])
        rng = np.random.default_rng(seed)
        drawn = rng.integers(len(archs), size=(2500, max(1, len(archs) // 4)))
        best = drawn[np.arange(2500), np.asarray(values)[drawn].argmax(axis=1)]
        low, middle, high = (float(p) for p in np.percentile(ratios[best], [2.5, 50, 97.5]))
        return low, middle, high

    @cached_property
    def _importance(self) -> Tensor:
        network = self.network
        evidence = Evidence(network.module, network.examples, network.spec, seed=self.settings.seed)
        return SCORES[self.score](evidence)

    def _cut(self, arch: Arch) -> nn.Module:
        """With the whole's weights; where these are not trained, with fresh ones of the build's seed, cut alike."""
        return self.plan(arch).apply(self.whole.module if self.whole.trained else self.whole.make())


def pruning(
    *,
    model: str,
    input_shape: tuple[int, ...],
    weights: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    classes: int | None = None,
    ratios: Sequence[float] = RATIOS,
    groups: Sequence[str] | None = None,
    keep: Sequence[str] = (),
    score: str = "l2",
    round_to: int = 1,
    ratio: float | None = None,
    within: float = 0.1,
    base: Path | None = None,
) -> Space:
    """The space of a network's pruned versions.

    model: `file.py:NAME` or `package.module:NAME`, a network or a function that makes one from `arguments` (and from
    `classes` and `input_shape`, where it takes them). weights: its trained ones, a safetensors file; without it
    networks are drawn fresh, and only widths are searched. ratios: shares of units that may stay. groups: glob patterns
    of groups, each of which is one choice, such as a stage; groups that fit none stay whole; without it every group has
    its own. keep: patterns of modules that stay whole. score: of channels, from weights alone. round_to: of widths.
    ratio: keeps architectures alone whose multiply-adds over parameters, both as shares of the whole's, are less than
    `within` away from this: winners are expected near one such ratio, which a first study without it shows
    (in the spirit of arXiv:2304.09453; their parameters are of buckets). Paths are relative to `base`.
    """
    _check(ratios, score)
    known = {"input_shape": input_shape} | ({} if classes is None else {"classes": classes})
    whole = whole_network(model, arguments or {}, weights, known, base)
    settings = PruneSettings(ranking="layer", round_to=round_to, min_share=0.0, keep=tuple(keep))
    network = prunable(whole.module, random_inputs(2, input_shape), settings.choice)
    shown = _choices([group.name for group in network.groups], groups, network.frozen)
    constants = {**whole.facts, "groups": shown, "score": score, "round_to": round_to}
    space = PruningSpace(
        whole, network, shown, score, settings,
        ratios=sorted(ratios), input_shape=input_shape, constants=constants,
    )  # fmt: skip
    return space if ratio is None else _near(space, ratio, within)


def _check(ratios: Sequence[float], score: str) -> None:
    if not ratios or not all(0 < share <= 1 for share in ratios) or len(set(ratios)) < len(ratios):
        raise NasplatError(f"ratios = {list(ratios)}: expected different shares above 0 and at most 1")
    if score not in SCORES:
        raise NasplatError(f"unknown score {score!r}; {expected_one_of(score, SCORES)}")
    if score in ("taylor", "hessian"):
        raise NasplatError(
            f"score {score!r} looks at data, which a space has not: choose one of weights alone"
        )


def _choices(
    names: Sequence[str], patterns: Sequence[str] | None, frozen: Mapping[str, str]
) -> dict[str, list[str]]:
    """The groups of every choice, by its name."""
    if not names:
        why = "; ".join(f"{name}: {reason}" for name, reason in frozen.items())
        raise NasplatError(f"no channels of the network can be cut: {why or 'it has no hidden ones'}")
    if patterns is None:
        return {name: [name] for name in names}
    shown: dict[str, list[str]] = {pattern: [] for pattern in patterns}
    for name in names:
        first = next((p for p in patterns if fnmatchcase(name, p)), None)
        if first is not None:
            shown[first].append(name)
    for pattern, own in shown.items():
        if not own:
            raise NasplatError(
                f"groups: {pattern!r} fits no group of its own; {expected_one_of(pattern, names)}"
            )
    return shown


def _near(space: PruningSpace, ratio: float, within: float) -> Listed:
    """The architectures near a ratio: all, or those of a random population."""
    rng = np.random.default_rng(0)
    drawn = (
        list(space.enumerate())
        if space.size <= POPULATION
        else [space.smallest(), space.largest(), *(space.sample(rng) for _ in range(POPULATION))]
    )
    found = {arch: space.ratio(arch) for arch in dict.fromkeys(drawn)}
    near = [arch for arch, value in found.items() if abs(value - ratio) < within]
    if not near:
        low, high = min(found.values()), max(found.values())
        raise NasplatError(
            f"ratio = {ratio}: no architecture is within {within} of it, they have {low:.3g} to {high:.3g}"
        )
    return Listed(space, near)


class Trial(Protocol):
    """What a metric of one's own gets: see `nasplat.metric.Candidate`."""

    @property
    def untrained(self) -> nn.Module: ...

    @property
    def data(self) -> Dataset | None: ...

    @property
    def device(self) -> str: ...


def after_cutting(candidate: Trial) -> float:
    """The task's score on the validation split of a cut network whose norms are recalibrated, without finetuning.

    A metric of studies: `metric = "nasplat.spaces.pruning:after_cutting"`, direction as the task's.
    """
    data = candidate.data
    if data is None:
        raise NasplatError("after_cutting needs data: add a [data] table to the study file")
    module = copy.deepcopy(candidate.untrained).to(candidate.device)  # `network` may be finetuned by now
    shuffled = batches(data.train, 64, generator=generator(0), device=candidate.device)
    recalibrate(module, [inputs for inputs, _ in islice(shuffled, CALIBRATION)])
    return evaluate(module, data.validation, data.task, device=candidate.device)


SPACE: SpaceFactory = pruning
