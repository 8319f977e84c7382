"""Train the metanetworks for pruning that nasplat ships.

    python studies/meta_pruning/fit.py prune_cifar_resnets
    python studies/meta_pruning/fit.py prune_vggs
    python studies/meta_pruning/fit.py prune_cifar_resnets_at_once

Data models are those of studies/prune_resnet, which are trained first where they are missing. The same command goes on
where it was interrupted. Validation data choose the epoch; the test split is not looked at.
"""

from __future__ import annotations

import os
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "prune_resnet"))

import torch
from networks import RESNETS, VGGS, Plan, dataset, load_all, train
from torch import nn

from nasplat.data import Dataset, Split
from nasplat.prune.meta import Epoch, MetaSettings, MetaTask, cross_entropies, train_pruner
from nasplat.prune.meta.judging import PrunedAccuracy
from nasplat.supernet import Recipe, Settings, train_network

ROOT = Path(__file__).resolve().parents[2]
OUT = Path(__file__).resolve().parent / "out"
SHIPPED = ROOT / "predictors" / "trained"
MODELS = ROOT / "studies" / "prune_resnet" / "out"
JUDGED, FEW = 1000, 2000
"""Validation images of the judge, and training images of its finetuning."""


@dataclass(frozen=True, slots=True)
class Metanet:
    """Plans of data models, and settings. finetuned: judged with finetuning between rewriting and pruning."""

    plans: Sequence[Plan]
    settings: MetaSettings
    batch: int = 500
    finetuned: bool = True


CUT = MetaSettings(pruned=100.0, reg=0.1, rate=3e-3, drops=(7,), epochs=10)
METANETS = {
    "prune_cifar_resnets": Metanet(RESNETS, MetaSettings(epochs=20, drops=(14,))),
    "prune_vggs": Metanet(VGGS, MetaSettings(epochs=20, rate=3e-3, drops=(14,))),
    "prune_cifar_resnets_at_once": Metanet(RESNETS, CUT, batch=250, finetuned=False),
}


def short_finetuning(data: Dataset) -> Callable[[nn.Module], None]:
    """One epoch over a few images: what stands for the finetuning between rewriting and pruning."""
    few = replace(data, train=Split(data.train.inputs[:FEW], data.train.targets[:FEW]))

    def finetune(network: nn.Module) -> None:
        train_network(network, few, Recipe(1, 64, 0.05), Settings(seed=0))
        network.eval()

    return finetune


def task(name: str) -> MetaTask:
    """What a metanetwork learns from."""
    metanet = METANETS[name]
    plans = metanet.plans
    for plan in plans:
        train(plan, MODELS)
    form = plans[0].form
    data = dataset(form.side)
    learned, held_out = (
        [(module, form.example) for module, _ in load_all(MODELS, plans, held)] for held in (False, True)
    )
    return MetaTask(
        learned,
        held_out,
        cross_entropies(data.train.inputs, data.train.targets, batch=metanet.batch),
        PrunedAccuracy(
            data.validation.inputs[:JUDGED],
            data.validation.targets[:JUDGED],
            data.train.inputs[:JUDGED],
            before=short_finetuning(data) if metanet.finetuned else None,
        ),
        data=f"{data.name}, {len(data.train.inputs)} training images",
        judged_by=f"accuracy on {JUDGED} validation images, mean of 2x and 3x fewer MACs: "
        f"{f'finetuned on {FEW} images, ' if metanet.finetuned else ''}pruned by l2, norms recalibrated",
        command=f"python studies/meta_pruning/fit.py {name}",
    )


def tell(epoch: Epoch) -> None:
    """One line."""
    print(
        f"{epoch.number:3d}  loss {epoch.loss:.4f}  judged {epoch.value:.4f}  {epoch.seconds:.1f} s",
        flush=True,
    )


def main() -> None:
    """Train one of METANETS and put it where nasplat ships it."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=METANETS)
    name = parser.parse_args().name
    torch.set_num_threads(1)
    pruner = train_pruner(task(name), OUT / name, METANETS[name].settings, tell)
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    card = replace(pruner.card, commit=commit.stdout.strip())
    replace(pruner, card=card).save(SHIPPED / name)
    print(f"untouched {card.untouched:.4f}; epoch {card.chosen} of {len(card.epochs)}: {card.value:.4f}")


if __name__ == "__main__":
    main()
