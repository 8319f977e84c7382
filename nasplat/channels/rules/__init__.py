"""What every operation does to channels: FUNCTIONS by plain name, MODULES by class."""

from __future__ import annotations

from nasplat.channels.rules import modules, moving, norms, picking, pointwise, products, reducing, weighted
from nasplat.channels.run import Rule

FUNCTIONS: dict[str, Rule] = {
    **moving.RULES,
    **picking.RULES,
    **pointwise.RULES,
    **reducing.RULES,
    **weighted.RULES,
    **norms.RULES,
    **products.RULES,
}
MODULES: dict[str, Rule] = modules.MODULES

KEEP_PLACES = {
    *moving.SAME,
    *moving.MOVES,
    *moving.VIEWS,
    *pointwise.FUNCTIONS,
    *modules.SAME,
    *modules.MOVES,
}
KEEP_PLACES |= {*modules.ACTIVATIONS, "Linear", "linear", "getitem"}
"""Operations whose rules carry neurons of places on, see `values.Activation`."""
