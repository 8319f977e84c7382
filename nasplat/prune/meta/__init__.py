"""Metanetworks that prune: trained once for a family of networks, they rewrite each so that it is easy to prune.

task = MetaTask(networks, held_out, cross_entropies(images, labels), PrunedAccuracy(validation, targets, images))
pruner = train_pruner(task, folder)
easy = pruner.rewrite(model, example)                      # then finetune, plan with "l2", apply, finetune
plan = plan_pruning(model, example, Pruner.load("prune_cifar_resnets"), speedup=2.0)     # or as a score alone
"""

from __future__ import annotations

from nasplat.prune.meta.card import PRUNERS, Card, Epoch
from nasplat.prune.meta.family import Family
from nasplat.prune.meta.objective import Losses, cross_entropies
from nasplat.prune.meta.pruner import Pruner
from nasplat.prune.meta.settings import MetaSettings
from nasplat.prune.meta.training import Judge, MetaTask, train_pruner

__all__ = [
    "PRUNERS",
    "Card",
    "Epoch",
    "Family",
    "Judge",
    "Losses",
    "MetaSettings",
    "MetaTask",
    "Pruner",
    "cross_entropies",
    "train_pruner",
]
