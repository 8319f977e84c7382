"""What a set-aware metanetwork learns from: masks of trained networks, and how the loss rises from there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nasplat.channels.structure import Numbers
from nasplat.data.seeds import derived_seed
from nasplat.errors import NasplatError, TrainingError
from nasplat.files import write_atomic
from nasplat.prune.masked import Kept
from nasplat.prune.meta.data_models import DataModel
from nasplat.prune.meta.objective import Losses
from nasplat.prune.setaware.taylor import taylor_features
from nasplat.prune.setaware.units import Units
from nasplat.prune.trials import Norms, Trials

Values: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Walks:
    """How masks are drawn: walks from the whole network down to a share of its units.

    walks: of each network. steps: masks of a walk, about equally many units apart. least: the share of units that the
    last mask leaves. candidates: units whose rise is looked at from each mask. A walk removes, with a probability of
    its own, the cheapest of its candidates, else random ones: from random masks to greedy ones. taylor: whether one
    backward pass is made at each mask, see `taylor_features`.
    """

    walks: int = 4
    steps: int = 24
    least: float = 0.2
    candidates: int = 32
    taylor: bool = True
    norms: Norms = "batch"


@dataclass(frozen=True, slots=True, eq=False)
class Masks:
    """Masks of one network: kept (n, channels); rises (n, units), NaN where none was looked at; features
    (n, nodes, FEATURES), or (n, nodes, 0) without a backward pass."""

    kept: Tensor
    rises: Tensor
    features: Tensor

    def __len__(self) -> int:
        return len(self.kept)


def draw_masks(model: DataModel, losses: Losses, walks: Walks, seed: int) -> Masks:
    """Masks of one trained network with the rises of some units of each.

    losses: of training data; every walk sees the batches of a seed of its own. TrainingError: a loss is not finite.
    """
    units = Units.of(model.spec)
    if not len(units):
        raise NasplatError("a network without a channel that may go; give one with hidden channels")
    found = [
        mask
        for number in range(walks.walks)
        for mask in _walk(model, units, losses, walks, derived_seed(seed, number) % 2**63)
    ]
    kept, rises, features = zip(*found, strict=True)
    return Masks(
        torch.from_numpy(np.stack(kept)), torch.from_numpy(np.stack(rises)).float(), torch.stack(features)
    )


def rises_of(trials: Trials, units: Units, kept: Kept, candidates: Numbers) -> Values:
    """By how much the loss rises if each candidate goes next, (units,); NaN for all other units. TrainingError: the
    loss is not finite."""
    before = trials.keep(kept)
    found = np.full(len(units), np.nan)
    found[candidates] = [trials.without(units.members[unit]) - before for unit in candidates]
    if not np.isfinite(found[candidates]).all():
        raise TrainingError("a masked network has a loss that is not finite; check the network and its data")
    return found


def _walk(
    model: DataModel, units: Units, losses: Losses, walks: Walks, seed: int
) -> Iterator[tuple[Kept, Values, Tensor]]:
    """One mask after the other, from the whole network down."""

    def loss(module: nn.Module) -> Iterable[Tensor]:
        return losses(module, seed)

    trials = Trials(model.module, model.spec, loss, walks.norms)
    rng = np.random.default_rng(seed)
    greed, shares = rng.uniform(), rng.dirichlet(np.full(len(units.groups), 2.0))
    weights = shares[units.group_of]  # some groups go faster than others
    kept, gone = units.whole(), 0
    for step in range(walks.steps):
        open_units = units.removable(kept)
        if not len(open_units):
            return
        candidates = rng.choice(open_units, min(walks.candidates, len(open_units)), replace=False)
        rises = rises_of(trials, units, kept, candidates)
        features = torch.zeros(model.spec.structure.nodes, 0)
        if walks.taylor:
            features = taylor_features(model, units, kept, loss, walks.norms)
        yield kept, rises, features
        goal = round((1 - walks.least) * len(units) * (step + 1) / walks.steps)
        order = _order(rng, candidates, rises, weights, greed)
        kept, gone = _removed(units, kept, order[: goal - gone]), goal


def _order(
    rng: np.random.Generator,
    candidates: Numbers,
    rises: Values,
    weights: Values,
    greed: float,
) -> list[int]:
    """Candidates in the order in which they go: at each turn the cheapest, or one drawn by weight."""
    left = candidates[np.argsort(rises[candidates])].tolist()
    found = []
    while left:
        chance = weights[left] / weights[left].sum()
        found.append(left.pop(0 if rng.uniform() < greed else int(rng.choice(len(left), p=chance))))
    return found


def _removed(units: Units, kept: Kept, order: Sequence[int]) -> Kept:
    """Without these units, as far as every group keeps one."""
    for unit in order:
        if unit in units.removable(kept):
            kept = units.without(kept, unit)
    return kept


def write_masks(path: Path, masks: Masks, walks: Walks) -> None:
    """One file, whole or not at all."""
    from safetensors.torch import save

    tensors = {"kept": masks.kept, "rises": masks.rises, "features": masks.features}
    write_atomic(path, save(tensors, {"walks": json.dumps(asdict(walks))}))


def read_masks(path: Path, walks: Walks) -> Masks:
    """What `write_masks` wrote. NasplatError: a file that is none, or of other walks."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            page = json.loads(file.metadata()["walks"])
            tensors = {name: file.get_tensor(name) for name in ("kept", "rises", "features")}
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise NasplatError(f"{path} holds no masks ({error}); remove it to draw them again") from error
    if page != asdict(walks):
        raise NasplatError(
            f"{path} holds masks of other walks ({page}); remove it, or draw into another folder"
        )
    return Masks(**tensors)
