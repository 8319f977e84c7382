"""Operations that pick places of an axis by a tensor, or put them there."""

from __future__ import annotations

from typing import Any

from nasplat.channels.rules.moving import pick
from nasplat.channels.run import Call, Rule, Run
from nasplat.channels.values import Activation, Weight


def scattered(run: Run, call: Call) -> Any:
    """`scatter_add(x, axis, index, source)` and the like: places of one axis are gathered into others."""
    into, axis, _, source = call.args[:4]
    if not isinstance(source, Activation) or isinstance(into, Weight):
        return run.unknown(call, "a parameter is scattered")
    found = pick(run, call, source, axis)
    if isinstance(into, Activation):
        run.ledger.tie(into.numbers, found.numbers)
    return found


def gathered(run: Run, call: Call) -> Any:
    """`gather(x, axis, index)`, where the index goes over all of the other axes."""
    x, axis = call.args[0], call.argument(1, "dim")
    same = isinstance(x, Activation) and all(
        one == other
        for place, (one, other) in enumerate(zip(x.value.shape, call.value.shape, strict=True))
        if place != axis % x.value.ndim
    )
    return pick(run, call, x, axis) if same else run.unknown(call, "it picks from a part of what it reads")


def index_select(run: Run, call: Call) -> Any:
    """`index_select(x, axis, index)`."""
    if not isinstance(call.args[0], Activation):
        return run.unknown(call, "a parameter is indexed by a tensor")
    return pick(run, call, call.args[0], call.argument(1, "dim"))


RULES: dict[str, Rule] = {
    "index_select": index_select,
    **dict.fromkeys(("scatter_add", "scatter_reduce", "scatter", "index_add", "index_copy"), scattered),
    "gather": gathered,
}
