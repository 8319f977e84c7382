"""Pruning from end to end: a network that a person names in, a verified bundle and a row of a store out."""

from nasplat.study.pruning.order import Finetuning, PruneOrder
from nasplat.study.pruning.run import Delivery, Pruned, plan_model, prune_model

__all__ = ["Delivery", "Finetuning", "PruneOrder", "Pruned", "plan_model", "prune_model"]
