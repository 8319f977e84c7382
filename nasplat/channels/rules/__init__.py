"""What every operation does to channels: FUNCTIONS by plain name, MODULES by class."""

from __future__ import annotations

from nasplat.channels.rules import modules, moving, norms, pointwise, products, reducing, weighted
from nasplat.channels.run import Rule

FUNCTIONS: dict[str, Rule] = {
    **moving.RULES,
    **pointwise.RULES,
    **reducing.RULES,
    **weighted.RULES,
    **norms.RULES,
    **products.RULES,
}
MODULES: dict[str, Rule] = modules.MODULES
