"""Ways of choosing channels that look at masked networks again and again: greedily, or through a metanetwork."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from training import EXAMPLE, calibration

from nasplat.data import Dataset
from nasplat.prune import Evidence, Prunable
from nasplat.prune.greedy import GreedySettings, greedy_kept, units_of
from nasplat.prune.masked import Kept
from nasplat.prune.setaware import SetAware

OUT = Path(__file__).resolve().parent / "out"
"""Where metanetworks are looked for, before those that nasplat ships."""

GREEDY = GreedySettings(per_step=2, norms="batch")
SET_AWARE_NET = "set_aware_resnets"
IMAGES = 512
"""Training images on which masked networks are tried."""


@dataclass(frozen=True, slots=True)
class Size:
    """images: for training. epochs: of finetuning; first: those of them that some methods spend before the cut."""

    images: int = 10_000
    epochs: int = 6
    first: int = 3


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A network to prune, its data, and the seed of all that is random."""

    network: nn.Module
    data: Dataset
    seed: int
    size: Size


Propose: TypeAlias = Callable[[Case, Prunable, float], Kept]
"""Which channels stay, (channels,), for a speed-up."""


def greedy(case: Case, network: Prunable, speedup: float) -> Kept:
    """Remove two units at a time, those that raise the loss least for the multiply-adds that they free."""
    return _greedily(case, network, speedup, GREEDY, IMAGES)


def quick_greedy(case: Case, network: Prunable, speedup: float) -> Kept:
    """The same in about the seconds of a metanetwork: eight units at a time, and a quarter of the images."""
    return _greedily(case, network, speedup, replace(GREEDY, per_step=8), IMAGES // 4)


def _greedily(case: Case, network: Prunable, speedup: float, settings: GreedySettings, images: int) -> Kept:
    loss = trials(case.data, images)
    evidence = Evidence(network.module, network.examples, network.spec, loss, case.seed)
    limit = network.macs(network.everything) / speedup
    return greedy_kept(evidence, units_of(network.groups), network.macs, limit, settings).kept


def set_aware(case: Case, network: Prunable, speedup: float) -> Kept:
    """Remove what the metanetwork says is worth least for the multiply-adds that it frees, and ask again."""
    limit = network.macs(network.everything) / speedup
    return load_set_aware().propose(network.module, EXAMPLE, network.macs, limit, loss=trials(case.data))


def load_set_aware() -> SetAware:
    """One in out, else the one that nasplat ships."""
    return SetAware.load(SET_AWARE_NET, OUT)


def trials(data: Dataset, images: int = IMAGES) -> Callable[[nn.Module], Iterator[Tensor]]:
    """The loss of a masked network on a few training images, in one batch."""
    inputs, targets = (torch.cat(parts)[:images] for parts in zip(*calibration(data), strict=True))
    return lambda network: iter([F.cross_entropy(network(inputs), targets)])
