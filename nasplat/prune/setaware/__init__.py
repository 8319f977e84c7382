"""A metanetwork that reads a network and what was removed from it, and says what every unit that is left is worth.

Training: `draw_masks` of trained networks, `Lesson.of` each, `fit`, `SetAware(network, card).save(folder)`. Use:
`SetAware.load(name).propose(module, example, cost, limit)`, or as a score of `plan_pruning`.
"""

from __future__ import annotations

from nasplat.prune.setaware.card import SET_AWARE, Card
from nasplat.prune.setaware.examples import Masks, Walks, draw_masks, read_masks, rises_of, write_masks
from nasplat.prune.setaware.following import follow
from nasplat.prune.setaware.lessons import Lesson
from nasplat.prune.setaware.network import Body, SetAwareNetwork
from nasplat.prune.setaware.objective import correlations
from nasplat.prune.setaware.removal import Steps, remove
from nasplat.prune.setaware.set_aware import SetAware
from nasplat.prune.setaware.taylor import taylor_features
from nasplat.prune.setaware.training import Epoch, Fitted, Fitting, fit, judged
from nasplat.prune.setaware.units import Units

__all__ = [
    "SET_AWARE",
    "Body",
    "Card",
    "Epoch",
    "Fitted",
    "Fitting",
    "Lesson",
    "Masks",
    "SetAware",
    "SetAwareNetwork",
    "Steps",
    "Units",
    "Walks",
    "correlations",
    "draw_masks",
    "fit",
    "follow",
    "judged",
    "read_masks",
    "remove",
    "rises_of",
    "taylor_features",
    "write_masks",
]
