"""How architectures share weights, by name: each kind edits a fresh supernet and, where it learns, its training.

space = nas.load("spaces", "elastic_convnet")().shared(MIXTURES["dealt"](experts=4).apply)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nasplat.arguments import check_arguments
from nasplat.errors import NasplatError, expected_one_of
from nasplat.supernet.mixtures.balanced import Balanced
from nasplat.supernet.mixtures.base import Mixture, Setting, Sliced
from nasplat.supernet.mixtures.hyper import Hyper
from nasplat.supernet.mixtures.moe import MixtureOfSupernets
from nasplat.supernet.mixtures.one_hot import Dealt, Keyed, Separate
from nasplat.supernet.mixtures.split import FewShot
from nasplat.supernet.mixtures.templates import SharedTemplates, Tied

MIXTURES: dict[str, type[Mixture]] = {
    "slice": Sliced,
    "balanced": Balanced,
    "dealt": Dealt,
    "hyper": Hyper,
    "keyed": Keyed,
    "moe": MixtureOfSupernets,
    "separate": Separate,
    "split": FewShot,
    "templates": SharedTemplates,
    "tied": Tied,
}
"""The kinds that a study can name: mixture = {kind = "dealt", experts = 4}."""

__all__ = [
    "MIXTURES",
    "Balanced",
    "Dealt",
    "FewShot",
    "Hyper",
    "Keyed",
    "Mixture",
    "MixtureOfSupernets",
    "Separate",
    "Setting",
    "SharedTemplates",
    "Sliced",
    "Tied",
    "make_mixture",
]


def make_mixture(table: Mapping[str, Any]) -> Mixture:
    """The mixture of a table such as {"kind": "dealt", "experts": 4}; NasplatError in one line where it is none."""
    if "kind" not in table:
        raise NasplatError(f"a mixture needs 'kind'; add one of {', '.join(MIXTURES)}")
    kind, given = table["kind"], {key: value for key, value in table.items() if key != "kind"}
    if kind not in list(MIXTURES):  # which may be unhashable
        raise NasplatError(f"the kind {kind!r} of a mixture is unknown; {expected_one_of(kind, MIXTURES)}")
    return MIXTURES[kind](**check_arguments(MIXTURES[kind], given, f"mixture {kind}"))
