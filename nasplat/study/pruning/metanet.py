"""What trained metanetworks do with a network: some write it anew, some judge it step by step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from time import perf_counter
from typing import Any

from torch import Tensor, nn

from nasplat.errors import InvalidStudy
from nasplat.prune import Plan, PruneSettings, Target, prunable
from nasplat.prune.metanets import Metanet
from nasplat.prune.setaware import SetAware


def rewritten(metanet: Metanet, module: nn.Module, example: Tensor) -> nn.Module:
    """A network as the metanetwork writes it anew. InvalidStudy: it is one that only judges."""
    if isinstance(metanet, SetAware):
        raise InvalidStudy("this metanetwork judges channels and rewrites nothing: leave out --rewrite")
    return metanet.rewrite(module, example)


def takes_steps(metanet: object, target: dict[str, Any], settings: PruneSettings) -> bool:
    """Whether channels go a few at a time, each time judged anew: where the target is a size and widths are free."""
    free = not settings.keep and not settings.trust and settings.round_to == settings.min_width == 1
    free = free and settings.ranking == "global"
    sizes = {"speedup", "max_macs", "max_params"}
    return (
        isinstance(metanet, SetAware)
        and free
        and settings.blocks
        and settings.inside
        and target.keys() <= sizes
    )


def stepwise(
    metanet: SetAware, module: nn.Module, example: Tensor, target: Target, loss: Callable[..., Any] | None
) -> Plan:
    """The plan of a metanetwork that judges what is left after every few channels that go; see `SetAware.propose`."""
    start = perf_counter()
    network = prunable(module, example)
    cost, limit = (
        (network.params, target.max_params) if target.max_params else (network.macs, target.max_macs)
    )
    if target.speedup is not None:
        limit = network.macs(network.everything) / target.speedup
    assert limit is not None
    kept = metanet.propose(module, example, cost, limit, loss=loss)
    plan = network.plan(kept, score="set-aware metanetwork", target=str(target))
    return replace(plan, seconds=perf_counter() - start)
