"""Masks that a set-aware metanetwork itself comes to, with rises measured there: what it must learn next."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from nasplat.channels.structure import Numbers
from nasplat.prune.masked import Kept
from nasplat.prune.meta.data_models import DataModel
from nasplat.prune.meta.objective import Losses
from nasplat.prune.prunable import prunable
from nasplat.prune.setaware.examples import Masks, Values, Walks, rises_of
from nasplat.prune.setaware.removal import Steps, keys_of, remove
from nasplat.prune.setaware.set_aware import SetAware
from nasplat.prune.setaware.taylor import taylor_features
from nasplat.prune.setaware.units import Units
from nasplat.prune.trials import Trials


def follow(set_aware: SetAware, model: DataModel, losses: Losses, walks: Walks, seed: int) -> Masks:
    """Masks on the way of `SetAware.propose`, `walks.steps` of them, down to a share `walks.least` of multiply-adds.

    In the way of arXiv:1011.0686: who has learned from other masks only errs where its own errors lead. Half of the
    candidates are those that would go first, of which, being chosen, it thinks too little; the others are random.
    """
    units, cost = Units.of(model.spec), prunable(model.module, model.example).macs

    def loss(module: nn.Module) -> Iterable[Tensor]:
        return losses(module, seed)

    judge = set_aware.judge(model, units, loss)
    steps, visited = Steps(walks.steps), list[tuple[Kept, Values]]()

    def recorded(kept: Kept) -> Values:
        worth = judge(kept)
        visited.append((kept, keys_of(units, worth, cost, kept, steps)))
        return worth

    remove(units, recorded, cost, walks.least * cost(units.whole()), steps)
    rng, trials = np.random.default_rng(seed), Trials(model.module, model.spec, loss, walks.norms)
    rises = [
        rises_of(trials, units, kept, _candidates(rng, keys, walks.candidates)) for kept, keys in visited
    ]
    features = [taylor_features(model, units, kept, loss, walks.norms) for kept, _ in visited if walks.taylor]
    none = torch.zeros(len(visited), model.spec.structure.nodes, 0)
    return Masks(
        torch.from_numpy(np.stack([kept for kept, _ in visited])),
        torch.from_numpy(np.stack(rises)).float(),
        torch.stack(features) if features else none,
    )


def _candidates(rng: np.random.Generator, keys: Values, count: int) -> Numbers:
    """Half of them of the smallest keys, the others drawn from the rest; none of an infinite one."""
    order = np.argsort(keys, kind="stable")[: int(np.isfinite(keys).sum())]
    first, rest = np.split(order, [min(count, len(order)) // 2])
    drawn = rng.choice(rest, min(count - len(first), len(rest)), replace=False)
    found: Numbers = np.concatenate([first, drawn])
    return found
