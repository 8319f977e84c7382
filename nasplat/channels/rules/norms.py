"""Normalisation: scales and shifts by channel, over channels or places."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from torch import Tensor

from nasplat.channels.rules.pointwise import attach, with_weight
from nasplat.channels.run import Call, Rule, Run
from nasplat.channels.values import Activation, Weight

AFFINE = ("scale", "shift", "mean", "variance")


def batch_norm(run: Run, call: Call) -> Any:
    """`F.batch_norm(x, mean, var, weight, bias)`, and `instance_norm`; ATen has weight and bias first."""
    words = ("running_mean", "running_var", "weight", "bias")
    first, second, third, fourth = (call.argument(place, word) for place, word in enumerate(words, 1))
    if hasattr(call.target, "overloadpacket"):
        return by_channel(run, call, call.args[0], (first, second, third, fourth))
    return by_channel(run, call, call.args[0], (third, fourth, first, second))


def by_channel(run: Run, call: Call, x: Any, weights: tuple[Any, ...]) -> Any:
    """Each channel of axis 1 on its own."""
    if not isinstance(x, Activation):
        return run.unknown(call, "a parameter is normalised")
    columns = dict(zip(AFFINE, weights, strict=False))
    return attach(run, call, replace(x, value=call.value), 1, columns)


def layer_norm(run: Run, call: Call) -> Any:
    """`layer_norm(x, shape, weight, bias)`: over all of the last axes."""
    words = ("normalized_shape", "weight", "bias")
    shape, weight, bias = (call.argument(place, word) for place, word in enumerate(words, 1))
    return over_last(run, call, call.args[0], shape, (weight, bias))


def rms_norm(run: Run, call: Call) -> Any:
    """`rms_norm(x, shape, weight)`."""
    shape = call.argument(1, "normalized_shape")
    return over_last(run, call, call.args[0], shape, (call.argument(2, "weight"), None))


def over_last(run: Run, call: Call, x: Any, shape: Any, weights: tuple[Any, Any]) -> Any:
    """Whatever is normalised together is one set of channels."""
    if not isinstance(x, Activation):
        return run.unknown(call, "a parameter is normalised")
    x = replace(x, value=call.value)
    over(run, x, range(-len(shape), 0))
    if len(shape) == 1:
        return attach(run, call, x, -1, dict(zip(AFFINE, weights, strict=False)))
    for kind, weight in zip(("product", "sum"), weights, strict=True):
        x = with_weight(run, call, kind, x, weight) if isinstance(weight, Weight) else x
    return replace(x, fresh=False)


def over(run: Run, x: Activation, axes: Iterable[int]) -> Tensor:
    """An operation reads all that stands along some axes alike: who that is, with these axes kept as ones.

    One channel is itself, several are a block, and nobody is told where there is only one block.
    """
    ndim = x.numbers.ndim
    taken = {axis % ndim for axis in axes}
    kept = [axis for axis in range(ndim) if axis not in taken]
    still = tuple(slice(0, 1) if not x.numbers.stride(axis) else slice(None) for axis in range(ndim))
    turned = x.numbers[still].permute(*kept, *taken)
    shape = [1 if axis in taken else x.numbers[still].shape[axis] for axis in range(ndim)]
    members = turned.reshape(-1, turned.shape[len(kept) :].numel()).sort(1).values
    sets, places = members.unique(dim=0, return_inverse=True)
    return run.ledger.sets([one.unique() for one in sets])[places].reshape(shape)


def group_norm(run: Run, call: Call) -> Any:
    """`group_norm(x, groups, weight, bias)`: over runs of channels of axis 1."""
    x, groups = call.args[0], call.argument(1, "num_groups")
    if not isinstance(x, Activation):
        return run.unknown(call, "a parameter is normalised")
    numbers = run.ledger.level(x.numbers, 1)
    run.ledger.sets([one.unique() for one in numbers.reshape(groups, -1)])
    columns = {"scale": call.argument(2, "weight"), "shift": call.argument(3, "bias")}
    return attach(run, call, replace(x, value=call.value), 1, columns)


RULES: dict[str, Rule] = {
    "batch_norm": batch_norm,
    "instance_norm": batch_norm,
    "layer_norm": layer_norm,
    "rms_norm": rms_norm,
    "group_norm": group_norm,
}
