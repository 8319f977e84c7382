"""From a network, a score and a target to a plan."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeAlias

import numpy as np
from torch import Tensor, nn

from nasplat.channels.tracing import Example
from nasplat.errors import NasplatError, expected_one_of
from nasplat.measure import measure_latency
from nasplat.measure.latency import Repeats
from nasplat.prune.costs import Cost
from nasplat.prune.masked import Kept
from nasplat.prune.plan import Plan
from nasplat.prune.prunable import Choice, Prunable, prunable
from nasplat.prune.ranking import RANKINGS, Left, Order, Ranking, Values, Widths, ranked
from nasplat.prune.reaching import reach
from nasplat.prune.scores import SCORES, ChannelScore, Evidence, Loss

METANET = "metanet:"
"""Before the name or folder of a trained metanetwork that scores channels."""

Score: TypeAlias = str | ChannelScore | Tensor


@dataclass(frozen=True, slots=True)
class PruneSettings:
    """How to plan.

    ranking: "global", units of all groups by importance; "layer", equal shares of every group; "isomorphic", among
    groups of one form. round_to: widths are multiples of it. min_width and min_share: units that stay in every group.
    keep: glob patterns of modules, parameters or groups that stay whole. trust: patterns of groups that may go although
    their width enters what others compute. blocks: whether whole heads and groups may go; inside: channels inside them.
    device, batch, threads: where latency is measured, for how many copies of the example's first input.
    """

    ranking: Ranking = "global"
    round_to: int = 1
    min_width: int = 1
    min_share: float = 0.05
    keep: tuple[str, ...] = ()
    trust: tuple[str, ...] = ()
    blocks: bool = True
    inside: bool = True
    device: str = "cpu"
    batch: int | None = None
    threads: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.ranking not in RANKINGS:
            raise NasplatError(f"unknown ranking {self.ranking!r}; {expected_one_of(self.ranking, RANKINGS)}")
        if self.round_to < 1 or self.min_width < 1:
            raise NasplatError(
                f"round_to = {self.round_to}, min_width = {self.min_width}: expected 1 or more of each"
            )
        if not 0 <= self.min_share <= 1:
            raise NasplatError(f"min_share = {self.min_share}: expected a share from 0 to 1")

    @property
    def choice(self) -> Choice:
        """What may go."""
        return Choice(self.keep, self.trust, self.blocks, self.inside, self.seed)

    @property
    def widths(self) -> Widths:
        """What widths may be."""
        return Widths(self.round_to, self.min_width, self.min_share)


DEFAULT = PruneSettings()


@dataclass(frozen=True, slots=True)
class Target:
    """What a plan must reach; exactly one field is given.

    speedup: multiply-adds before over after. max_macs, max_params: of what is left. max_latency: milliseconds, measured
    on a device, or what `latency` predicts of a network. keep_ratio: the share of units that stay, in all groups or by
    glob patterns of their names, the first that fits; groups that none names stay whole.
    """

    speedup: float | None = None
    max_macs: float | None = None
    max_params: float | None = None
    max_latency: float | None = None
    keep_ratio: float | Mapping[str, float] | None = None
    latency: Callable[[nn.Module], float] | None = None

    def __post_init__(self) -> None:
        given = self.given
        if len(given) != 1:
            raise NasplatError(
                f"a plan needs one target, not {' and '.join(given) or 'none'}; give one of speedup, max_macs, "
                "max_params, max_latency and keep_ratio"
            )
        values = self.keep_ratio.values() if isinstance(self.keep_ratio, Mapping) else list(given.values())
        for value in values:
            if not (isinstance(value, int | float) and math.isfinite(value) and value > 0):
                raise NasplatError(f"{next(iter(given))} = {value}: expected a number above 0")
            if self.keep_ratio is not None and value > 1:
                raise NasplatError(f"keep_ratio = {value}: expected a share of at most 1")
        if self.speedup is not None and self.speedup < 1:
            raise NasplatError(f"speedup = {self.speedup}: expected 1 or more")

    @property
    def given(self) -> dict[str, object]:
        """The fields that are."""
        names = ("speedup", "max_macs", "max_params", "max_latency", "keep_ratio")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def __str__(self) -> str:
        name, value = next(iter(self.given.items()))
        said = value if isinstance(value, Mapping) else f"{value:g}"
        return f"{name} = {said}{' ms' if name == 'max_latency' else ''}"


def plan_pruning(
    module: nn.Module,
    example: Example,
    score: Score = "l2",
    *,
    speedup: float | None = None,
    max_macs: float | None = None,
    max_params: float | None = None,
    max_latency: float | None = None,
    keep_ratio: float | Mapping[str, float] | None = None,
    latency: Callable[[nn.Module], float] | None = None,
    loss: Loss | None = None,
    settings: PruneSettings = DEFAULT,
) -> Plan:
    """Which channels of a network stay so that one target is met, see `Target`; the network is left as it was.

    example: its input (n, ...), or a list of inputs. score: a name in `nasplat.prune.SCORES`, "metanet:NAME" with a
    trained metanetwork, a function of `Evidence`, or importances (channels,) themselves. loss: for scores that look at
    data, see `nasplat.prune.scores.Evidence`. Targets are met exactly or as closely from below as one more unit allows;
    what cannot be cut is in `Plan.frozen` with its reason. NasplatError: a network that cannot be traced, an unknown
    score, a target that cannot be met.
    """
    target = Target(speedup, max_macs, max_params, max_latency, keep_ratio, latency)
    measure = scored(score)  # an unknown name must not cost a trace
    network = prunable(module, example, settings.choice)
    return plan_of(network, measure, target, settings, loss, name=score if isinstance(score, str) else "")


def scored(score: Score) -> ChannelScore:
    """A score by name, or itself; importances are a score that looks at nothing."""
    if isinstance(score, str) and score.startswith(METANET):
        from nasplat.prune.metanets import load_metanet

        return load_metanet(score.removeprefix(METANET))
    if isinstance(score, str):
        if score not in SCORES:
            raise NasplatError(f"unknown score {score!r}; {expected_one_of(score, SCORES)}")
        return SCORES[score]
    if isinstance(score, Tensor):

        def given(evidence: Evidence) -> Tensor:
            return score

        return given
    return score


def plan_of(
    network: Prunable,
    score: ChannelScore,
    target: Target,
    settings: PruneSettings,
    loss: Loss | None,
    name: str = "",
) -> Plan:
    """`plan_pruning` of a network that was traced before."""
    began = time.perf_counter()
    evidence = Evidence(network.module, network.examples, network.spec, loss, settings.seed)
    importance = _checked(score(evidence), network)
    order = ranked(network.spec, network.groups, importance, settings.ranking, settings.widths)
    try:
        left, facts = _reached(network, order, target, settings)
    except NasplatError as error:
        raise NasplatError(f"{error}{_frozen(network)}") from error
    named = name or getattr(score, "__name__", type(score).__name__)
    seconds = time.perf_counter() - began
    return network.plan(order.kept(left), score=named, target=str(target), seconds=seconds, **facts)


def _frozen(network: Prunable) -> str:
    """The end of a message: what stays whole."""
    name, reason = next(iter(network.frozen.items()), ("", ""))
    others = f", and {len(network.frozen) - 1} others" if len(network.frozen) > 1 else ""
    return f" ({name} stays whole: {reason}{others})" if name else ""


def _checked(importance: Tensor, network: Prunable) -> Values:
    if tuple(importance.shape) != (network.channels,):
        raise NasplatError(
            f"importances came as {tuple(importance.shape)}; give one number for each of {network.channels} channels"
        )
    found: Values = importance.detach().double().cpu().numpy()
    used = np.unique(np.concatenate([np.zeros(0, np.int64), *(group.channels for group in network.groups)]))
    if not (found[used] > -np.inf).all():
        raise NasplatError(
            "some importances are no numbers; a score gives one for each channel, inf for what must stay"
        )
    return found


def _reached(
    network: Prunable, order: Order, target: Target, settings: PruneSettings
) -> tuple[Left, dict[str, object]]:
    """Units left by group, and what is known beside."""
    everything = network.everything
    if target.keep_ratio is not None:
        return _shares(order, target.keep_ratio), {}
    if target.speedup is not None:
        whole = network.macs(everything)
        return reach(order, network.macs, whole / target.speedup, "a number of multiply-adds"), {}
    if target.max_macs is not None:
        return reach(order, network.macs, target.max_macs, "a number of multiply-adds"), {}
    if target.max_params is not None:
        return reach(order, network.params, target.max_params, "a number of parameters"), {}
    assert target.max_latency is not None
    clock = target.latency or stopwatch(network, settings)
    timed = _remembered(lambda kept: clock(network.build(kept)))
    left = reach(order, timed, target.max_latency, "a latency in milliseconds", fill=False)
    before, after = timed(everything), timed(order.kept(left))
    where = "predicted" if target.latency else settings.device
    return left, {"latency_ms": (before, after), "origin": {"latency": where}}


def _shares(order: Order, ratio: float | Mapping[str, float]) -> dict[str, int]:
    """Widths by shares of units."""
    known = ratio if isinstance(ratio, Mapping) else {"*": ratio}
    found = {}
    for group, firm in zip(order.groups, order.firm, strict=True):
        share = next((value for pattern, value in known.items() if fnmatchcase(group.name, pattern)), 1.0)
        found[group.name] = order.widths.fit(max(firm, math.ceil(share * group.size - 1e-9)), group.size)
    for pattern in ratio if isinstance(ratio, Mapping) else ():
        if not any(fnmatchcase(group.name, pattern) for group in order.groups):
            names = [group.name for group in order.groups]
            raise NasplatError(
                f"keep_ratio names {pattern!r}, which is no group; {expected_one_of(pattern, names)}"
            )
    return found


def stopwatch(network: Prunable, settings: PruneSettings) -> Callable[[nn.Module], float]:
    """Median latency in milliseconds on the device of the settings."""
    example = network.examples[0]
    if len(network.examples) > 1:
        raise NasplatError(
            "latency is measured of networks with one input; give `latency`, a function that says it"
        )
    inputs = example if settings.batch is None else example[:1].expand(settings.batch, *example.shape[1:])
    quick = Repeats(minimum=10, budget_s=0.5)

    def clock(module: nn.Module) -> float:
        found = measure_latency(
            module, inputs, device=settings.device, threads=settings.threads, repeats=quick
        )
        return found.median_ms

    return clock


def _remembered(cost: Cost) -> Cost:
    """The same cost, asked once for each set of channels: a measured one would differ."""
    known: dict[bytes, float] = {}

    def ask(kept: Kept) -> float:
        key = kept.tobytes()
        if key not in known:
            known[key] = cost(kept)
        return known[key]

    return ask
