"""Search spaces: named choices, the architectures they give, and a builder that makes each a network.

space = Space("mlp", [ordinal("depth", (1, 2, 3)), categorical("act", ("relu", "gelu"))], build=build_mlp)
arch = space.arch({"depth": 2, "act": "gelu"})
model = space.build(arch)
"""

from __future__ import annotations

from nasplat.space.additive import Additive, Term
from nasplat.space.arch import Arch, Value
from nasplat.space.choice import Choice, categorical, ordinal
from nasplat.space.graph import ArchGraph
from nasplat.space.notation import Notation
from nasplat.space.slots import positions, positions_of, runs
from nasplat.space.space import Space, SpaceFactory
from nasplat.space.subsets import members, subset

__all__ = [
    "Additive",
    "Arch",
    "ArchGraph",
    "Choice",
    "Notation",
    "Space",
    "SpaceFactory",
    "Term",
    "Value",
    "categorical",
    "members",
    "ordinal",
    "positions",
    "positions_of",
    "runs",
    "subset",
]
