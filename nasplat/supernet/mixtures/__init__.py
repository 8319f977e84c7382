"""How architectures share weights, by name: each kind edits a fresh supernet and, where it learns, its training.

space = nas.load("spaces", "elastic_convnet")().shared(MIXTURES["dealt"](experts=4).apply)
"""

from __future__ import annotations

from nasplat.supernet.mixtures.base import Mixture, Setting
from nasplat.supernet.mixtures.one_hot import Dealt

MIXTURES: dict[str, type[Mixture]] = {
    "dealt": Dealt,
}
"""The kinds that a study can name: mixture = {kind = "dealt", experts = 4}."""

__all__ = ["MIXTURES", "Dealt", "Mixture", "Setting"]
