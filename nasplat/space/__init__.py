"""Search spaces: named choices, the architectures they give, and a builder that makes each a network.

space = Space("mlp", [ordinal("depth", (1, 2, 3)), categorical("act", ("relu", "gelu"))], build=build_mlp)
arch = space.arch({"depth": 2, "act": "gelu"})
model = space.build(arch)
"""

from __future__ import annotations

from nasplat.space.arch import Arch, Value
from nasplat.space.choice import Choice, categorical, ordinal
from nasplat.space.space import Space, SpaceFactory

__all__ = ["Arch", "Choice", "Space", "SpaceFactory", "Value", "categorical", "ordinal"]
