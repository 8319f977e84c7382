"""Layers that have weights between channels: linear, convolution, embedding."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from nasplat.channels.constants import moves
from nasplat.channels.ledger import Edges, Ledger
from nasplat.channels.rules.pointwise import attach
from nasplat.channels.run import Call, Rule, Run
from nasplat.channels.spec import Frozen
from nasplat.channels.values import NONE, Activation, Weight, along, spread


@dataclass(frozen=True, slots=True)
class Layout:
    """How a weight lies: the axis of its outputs, the axis of its inputs, and groups, into which `outer` is divided."""

    kind: str
    out: int = 0
    into: int = 1
    groups: int = 1


def linear(run: Run, call: Call) -> Any:
    """`linear(x, weight, bias)`: weight (o, i) on the last axis."""
    x, weight, bias = call.args[0], call.argument(1, "weight"), call.argument(2, "bias")
    return layer(run, call, x, -1, (weight, bias), Layout("linear"))


def convolution(run: Run, call: Call) -> Any:
    """`conv_nd(x, weight, bias, ..., groups)`: weight (o, i / groups, *kernel) on axis 1, or 0 without a batch."""
    x, weight, bias = call.args[0], call.argument(1, "weight"), call.argument(2, "bias")
    groups = call.argument(6, "groups", 1)
    return layer(run, call, x, _channel_axis(x, weight), (weight, bias), Layout("conv", groups=groups))


def transposed(run: Run, call: Call) -> Any:
    """`conv_transpose_nd(x, weight, bias, ..., groups)`: weight (i, o / groups, *kernel)."""
    x, weight, bias = call.args[0], call.argument(1, "weight"), call.argument(2, "bias")
    groups = call.argument(6, "groups", 1)
    return layer(
        run, call, x, _channel_axis(x, weight), (weight, bias), Layout("conv_transpose", 1, 0, groups)
    )


def _channel_axis(x: Any, weight: Any) -> int:
    whole = isinstance(x, Activation) and isinstance(weight, Weight)
    return 0 if whole and x.value.ndim < weight.value.ndim else 1


def layer(run: Run, call: Call, x: Any, axis: int, weights: tuple[Any, Any], layout: Layout) -> Any:
    """New neurons behind a weight, or those of the first time where it is used again."""
    weight, bias = weights
    if not isinstance(x, Activation) and isinstance(x, Tensor):
        x = Activation(x, torch.tensor(NONE).expand(x.shape))
    if not (isinstance(x, Activation) and isinstance(weight, Weight)) or weight.mixed:
        return run.unknown(call, "its weight is not a plain parameter")
    if axis == 1 and x.value.ndim < weight.value.ndim:
        axis = 0
    if weight.name in run.ledger.columns:
        return run.unknown(call, "elements of its weight are used alone")
    stored = as_stored(weight, run.shapes[weight.name], layout)
    if stored is None:
        return run.unknown(call, "its weight is a rearranged part of a parameter")
    if over_places(x, axis) and math.prod(weight.value.shape[2:]) > 1:
        return run.unknown(call, "channels are places of its kernel")
    if over_places(x, axis) and not bool(run.ledger.is_loose(x.numbers).any()):
        return mixer(run, call, x, axis, (weight, bias, stored))
    sources = run.ledger.column(x.numbers, axis, name=call.name, uniform=x.uniform)
    targets = connect(run, call.name, weight.name, sources, stored)
    result = Activation(call.value, spread(targets, call.value.shape, axis), True)
    result = attach(run, call, result, axis, {"bias": bias}) if isinstance(bias, Weight) else result
    return result if x.places is None else replace(result, places=_kept_places(run, call, x, axis))


def _kept_places(run: Run, call: Call, x: Activation, axis: int) -> Tensor | None:
    """Neurons of places behind a layer that leaves places where they are; otherwise their order has a meaning."""
    places, shape = x.places, call.value.shape
    assert places is not None
    same = all(
        one == two
        for place, (one, two) in enumerate(zip(places.shape, shape, strict=True))
        if place != axis % len(shape)
    )
    if same and not moves(places, axis):
        return places.narrow(axis, 0, 1).expand(shape)
    run.ledger.freeze([places], Frozen(call.name, call.operation, "places of channels keep their order"))
    return None


def over_places(x: Activation, axis: int) -> bool:
    """Whether a layer along an axis mixes places, each channel on its own, and not channels."""
    still = bool((x.numbers == x.numbers.narrow(axis, 0, 1)).all())
    return still and x.numbers.shape[axis] > 1 and len(x.numbers.unique()) > 1


def mixer(run: Run, call: Call, x: Activation, axis: int, weights: tuple[Weight, Any, Layout]) -> Any:
    """Neurons that stand for places, the same for all channels, behind a weight; channels stay."""
    weight, bias, stored = weights
    size = x.numbers.shape[axis]
    known = x.places is not None and len(along(x.places, axis)) == 1
    sources = (
        along(x.places, axis)[0]
        if known and x.places is not None
        else positions(run, f"{call.name}.places", size)
    )
    targets = connect(run, call.name, weight.name, sources, stored)
    made = Activation(call.value, spread(targets, call.value.shape, axis), True)
    if isinstance(bias, Weight):
        made = attach(run, call, made, axis, {"bias": bias})
    numbers = x.numbers.narrow(axis, 0, 1).expand(call.value.shape)
    return Activation(call.value, numbers, False, made.numbers)


def as_stored(weight: Weight, shape: torch.Size, layout: Layout) -> Layout | None:
    """The layout in the parameter as it lies: a weight may be used transposed, whole."""
    if weight.elements is None:
        return layout
    axes = list(range(len(shape)))
    axes[layout.out], axes[layout.into] = layout.into, layout.out
    if layout.groups == 1 and weight.elements.shape == torch.Size(shape[axis] for axis in axes):
        places = torch.arange(shape.numel()).reshape(shape)
        if torch.equal(weight.elements, places.permute(axes)):
            return Layout(layout.kind, layout.into, layout.out)
        if torch.equal(weight.elements, places):
            return layout
    if weight.elements.shape == shape and torch.equal(
        weight.elements.reshape(-1), torch.arange(shape.numel())
    ):
        return layout
    return None


def connect(
    run: Run, name: str, parameter: str, sources: Tensor, layout: Layout, targets: Tensor | None = None
) -> Tensor:
    """Edges of a parameter from sources (i,) to targets (o,), a new row of neurons unless given, which come back."""
    ledger, shape, groups = run.ledger, run.shapes[parameter], layout.groups
    outer = groups if layout.out else 1
    size = shape[layout.out] * outer
    if parameter in ledger.edges:
        return _again(run, parameter, sources, layout)
    targets = ledger.row(name, layout.kind, size).numbers if targets is None else targets
    members = sources.reshape(groups, -1), targets.reshape(groups, -1)
    for axis, grouped, numbers in zip(
        (layout.into, layout.out), (not layout.out, layout.out), members, strict=True
    ):
        if not grouped or numbers.shape[1] > 1 or groups == 1:
            ledger.bind(parameter, axis, numbers if grouped else numbers.reshape(-1))
    if groups > 1:
        _tie_groups(run, *members)
    split, order = _reading(shape, layout)
    ledger.edges[parameter] = Edges(
        parameter, layout.kind, *members, tuple(shape[2:]), len(shape), split, order, layout.out
    )
    return targets


def _reading(shape: torch.Size, layout: Layout) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """How to read (g, o, i, *kernel) from a parameter, see `structure.Block`."""
    rest = tuple(range(3, len(shape) + 1))
    split = (layout.groups, shape[0] // layout.groups, *shape[1:])
    return split, (0, 1 + layout.out, 1 + layout.into, *rest)


def _tie_groups(run: Run, sources: Tensor, targets: Tensor) -> None:
    """Channels of a group stay together; where a group is one channel, its outputs are that channel."""
    if sources.shape[1] == 1:
        run.ledger.tie(targets, sources)
        return
    blocks = run.ledger.group(sources)
    run.ledger.tie(run.ledger.group(targets), blocks)


def _again(run: Run, parameter: str, sources: Tensor, layout: Layout) -> Tensor:
    """A weight used for the second time: both inputs are tied, and its outputs are the same neurons."""
    ledger = run.ledger
    ledger.join("position", sources, _bound(ledger, parameter, layout.into))
    return _bound(ledger, parameter, layout.out)


def _bound(ledger: Ledger, parameter: str, axis: int) -> Tensor:
    """The neurons at both ends of a parameter's edges, by axis."""
    edges = ledger.edges[parameter]
    return (edges.targets if edges.out == axis else edges.sources).reshape(-1)


def embedding(run: Run, call: Call) -> Any:
    """`embedding(indices, weight)`, or the other way round as ATen has it: weight (tokens, o)."""
    weight = next((one for one in call.args if isinstance(one, Weight)), None)
    if weight is None or weight.elements is not None or weight.mixed:
        return run.unknown(call, "its weight is not a plain parameter")
    if weight.name in run.ledger.edges:
        return Activation(call.value, spread(_bound(run.ledger, weight.name, 1), call.value.shape, -1))
    tokens = positions(run, call.name, run.shapes[weight.name][0])
    targets = connect(run, call.name, weight.name, tokens, Layout("embedding", 1, 0))
    return Activation(call.value, spread(targets, call.value.shape, -1), True)


def positions(run: Run, name: str, size: int) -> Tensor:
    """Neurons for tokens or places, whose order has a meaning."""
    row = run.ledger.row(name, "position", size)
    run.ledger.ends["input"].append(row.numbers)
    return row.numbers


RULES: dict[str, Rule] = {
    "linear": linear,
    **{f"conv{n}d": convolution for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": transposed for n in (1, 2, 3)},
    "embedding": embedding,
}
