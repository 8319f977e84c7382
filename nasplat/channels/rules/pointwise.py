"""Operations element by element: functions keep channels, sums and products tie them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from nasplat.channels.constants import constants, is_nobody, meet, meet_constants, moves, varied_axes
from nasplat.channels.ledger import Column
from nasplat.channels.run import Call, Rule, Run, numbers_of
from nasplat.channels.values import NONE, Activation, Weight, along, carriers, spread

FUNCTIONS = ("relu", "relu6", "leaky_relu", "prelu_fixed", "elu", "selu", "celu", "gelu", "silu", "mish", "hardswish",
             "hardsigmoid", "hardtanh", "sigmoid", "logsigmoid", "log_sigmoid", "tanh", "tanhshrink", "softplus",
             "softsign", "softshrink", "hardshrink", "threshold", "sin", "cos", "exp", "log", "sqrt", "rsqrt", "square",
             "abs", "erf", "reciprocal", "clamp", "clamp_min", "clamp_max", "clip", "sign", "floor", "round", "expm1",
             "log1p", "pow", "neg", "nan_to_num", "positive", "rrelu", "tan", "asin", "acos", "atan", "sinh", "cosh",
             "ceil", "trunc", "frac", "lgamma", "rpow")  # fmt: skip
"""Functions of single numbers."""

FRESH = ("neg", "positive", "mul", "div", "truediv", "true_divide")
"""Those that leave a layer linear."""

SUMS = ("add", "iadd", "radd", "sub", "isub", "rsub", "subtract", "maximum", "minimum", "where", "lerp",
        "masked_fill", "logaddexp", "addcmul", "addcdiv", "fmod", "remainder", "floor_divide", "hypot",
        "xlogy")  # fmt: skip
TESTS = ("eq", "ne", "lt", "gt", "le", "ge", "less", "greater", "isnan", "isinf", "isfinite", "logical_not",
         "logical_and", "logical_or", "logical_xor", "bitwise_not", "bitwise_and", "bitwise_or", "bitwise_xor", "and",
         "or", "xor", "invert", "isclose")  # fmt: skip
"""Comparisons: what comes out belongs to the channels that were compared."""

PRODUCTS = ("mul", "imul", "rmul", "multiply", "div", "truediv", "true_divide", "divide", "itruediv", "atan2")


def function(run: Run, call: Call) -> Any:
    """A function of single numbers: channels stay, and the row that it follows remembers its word."""
    source, *others = carriers((call.args, call.kwargs))
    if others or next(constants((call.args, call.kwargs)), None) is not None:
        return replaced(combine(run, call))
    if isinstance(source, Weight):
        return replace(source, value=call.value)
    return activated(run, call, source)


def tested(run: Run, call: Call) -> Any:
    """A comparison, with a number or with other operands."""
    return replaced(combine(run, call))


def replaced(result: Any) -> Any:
    """Nothing behind it counts as the layer's own any more."""
    return replace(result, fresh=False) if isinstance(result, Activation) else result


def activated(run: Run, call: Call, source: Activation, word: str = "") -> Activation:
    """The result of a function of single numbers, named by a word."""
    if source.fresh:
        for row in run.ledger.rows_of(source.numbers):
            row.activation = row.activation or word or call.operation
    return replace(source, value=call.value, numbers=source.numbers.expand(call.value.shape), fresh=False)


def combine(run: Run, call: Call) -> Any:
    """A sum or product of operands that broadcast: whatever stands at one place is one channel."""
    operands = list(carriers((call.args, call.kwargs)))
    kind = "product" if call.operation in PRODUCTS else "sum"
    weights = [one for one in operands if isinstance(one, Weight)]
    actives = [one for one in operands if isinstance(one, Activation)]
    if not actives:
        return _of_weights(run, call, weights)
    result = Activation(call.value, numbers_of(actives[0], call.value.shape), actives[0].fresh)
    for other in actives[1:]:
        result = together(run, call, kind, result, other)
    for weight in weights:
        result = with_weight(run, call, kind, result, weight)
    meet_constants(run, call, result.numbers)
    linear = kind == "sum" or call.operation in FRESH
    return replace(result, fresh=result.fresh and linear)


def _of_weights(run: Run, call: Call, weights: list[Weight]) -> Any:
    """Computed from parameters alone: with a constant that is the same everywhere an element stays what it is."""
    if any(varied_axes(one) for one in constants((call.args, call.kwargs))):
        return mixed(run, call, weights)
    if len(weights) == 1 and call.value.shape == weights[0].value.shape:
        return replace(weights[0], value=call.value)
    if len(weights) == 2 and all(one.value.numel() > 1 for one in weights):
        return mixed(run, call, weights)
    large = max(weights, key=lambda one: one.value.numel())
    if large.value.shape == call.value.shape:
        return replace(large, value=call.value)
    return mixed(run, call, weights)


def mixed(run: Run, call: Call, weights: list[Weight]) -> Any:
    """Computed from several elements: which of them belong to which channel is no longer known."""
    return run.computed(call, weights)


def together(run: Run, call: Call, kind: str, first: Activation, second: Activation) -> Activation:
    """Two operands: one of them keeps its neurons and the other joins it.

    A layer whose only reader is the sum keeps its own. Two such layers become one row of neurons, as in a residual
    block whose shortcut is a convolution. Where neither is such a layer, a sum has neurons of its own. In a product
    the larger operand keeps its neurons, and the other is its gate.
    """
    ledger, shape = run.ledger, call.value.shape
    one, two = first.numbers.expand(shape), second.numbers.expand(shape)
    if is_nobody(first) or is_nobody(second):
        kept, nobody = (second, first) if is_nobody(first) else (first, second)
        numbers = kept.numbers.expand(shape)
        meet(run, call, numbers, varied_axes(nobody))
        return Activation(call.value, numbers, kept.fresh, uniform=kept.uniform and nobody.uniform)
    if kind == "product" or first.fresh or second.fresh:
        if kind == "sum" and first.fresh and second.fresh and ledger.pair(one, two):
            return Activation(call.value, one, True)
        swap = second.value.numel() > first.value.numel() if kind == "product" else not first.fresh
        keep, other = (two, one) if swap else (one, two)
        ledger.join(kind, other, keep)
        return Activation(call.value, torch.where(keep == NONE, other, keep))
    return _own_neurons(run, call, one, two)


def _own_neurons(run: Run, call: Call, one: Tensor, two: Tensor) -> Activation:
    """A sum of what others read too: a neuron for each different pair."""
    if torch.equal(one, two):
        return Activation(call.value, one)
    pairs, places = torch.stack((one, two), -1).reshape(-1, 2).unique(dim=0, return_inverse=True)
    both = (pairs > NONE).all(1)
    row = run.ledger.row(call.name, "sum", int(both.sum()))
    numbers = torch.where(pairs[:, 0] == NONE, pairs[:, 1], pairs[:, 0])
    numbers[both] = row.numbers
    for operand in pairs.T:
        run.ledger.join("sum", operand[both], row.numbers)
    run.ledger.tie(pairs[:, 0], pairs[:, 1])
    return Activation(call.value, numbers[places].reshape(one.shape))


def with_weight(run: Run, call: Call, kind: str, x: Activation, weight: Weight) -> Activation:
    """A parameter added to channels or multiplied with them, by broadcasting."""
    if weight.value.numel() == 1:
        if run.shapes[weight.name].numel() > 1 and not weight.mixed:
            run.computed(call, [weight])
        return replace(x, uniform=False)
    if weight.mixed or weight.name in run.ledger.edges:
        run.unknown(call, "it is computed from several elements of a parameter")
        return replace(x, fresh=False)
    axes = _axes(weight.value.shape, x.value.ndim)
    if len(axes) == 1 and weight.elements is None:
        column = "scale" if kind == "product" else "shift"
        return attach(run, call, x, axes[0], {column: weight})
    if not any(moves(x.numbers, axis) for axis in axes):
        return replace(x, fresh=False, uniform=False)
    numbers = run.ledger.level(x.numbers, *axes)
    if bool((numbers != NONE).any()):
        spread_over(run, call, weight, numbers, "scale" if kind == "product" else "shift")
    return replace(x, fresh=False, uniform=False)


def _axes(shape: torch.Size, ndim: int) -> list[int]:
    """The axes of the result along which an operand of a shape varies."""
    return [axis + ndim - len(shape) for axis, size in enumerate(shape) if size > 1]


def spread_over(run: Run, call: Call, weight: Weight, numbers: Tensor, column: str) -> None:
    """Every element of a parameter goes to the neuron at its place; used again, both are tied."""
    places, found = weight.places.reshape(-1), torch.full((run.shapes[weight.name].numel(),), NONE)
    found[places] = numbers
    run.ledger.tie(found[places], numbers)
    known = run.ledger.columns.setdefault(
        weight.name, Column(weight.name, column, found.reshape(run.shapes[weight.name]))
    )
    run.ledger.tie(known.numbers.reshape(-1), found)


def attach(run: Run, call: Call, x: Activation, axis: int, weights: dict[str, Weight | None]) -> Activation:
    """Node features along an axis, by COLUMNS: those of the row itself where it is fresh, else of new neurons."""
    ledger = run.ledger
    found = {column: weight for column, weight in weights.items() if isinstance(weight, Weight)}
    x = replace(x, value=call.value, uniform=False)
    if any(weight.mixed or weight.elements is not None for weight in found.values()):
        run.unknown(call, "a parameter of it is computed from another")
        return replace(x, fresh=False)
    several = len(along(x.numbers, axis)) > 1 and not bool(ledger.is_loose(x.numbers).any())
    if several and not moves(x.numbers, axis):
        return replace(x, fresh=False)  # each place has its own, the same for all channels
    numbers = ledger.level(x.numbers, axis)
    if several:
        for column, weight in found.items():
            spread_over(run, call, weight, numbers, column)
        return replace(x, fresh=False)
    if not bool((numbers > NONE).any()):
        for weight in found.values():
            ledger.bind(weight.name, 0, numbers)
        return x
    known = [ledger.columns[weight.name] for weight in found.values() if weight.name in ledger.columns]
    if known:
        ledger.tie(known[0].numbers.reshape(-1), numbers)
        return x
    return _carried(run, call, x, axis, found)


def _carried(run: Run, call: Call, x: Activation, axis: int, found: dict[str, Weight]) -> Activation:
    """Node features on the row itself, or on new neurons behind it."""
    ledger = run.ledger
    numbers = ledger.column(x.numbers, axis, name=call.name)
    own = x.fresh and len(numbers.unique()) == len(numbers)
    if not own or any(ledger.is_taken(column, numbers) for column in found):
        row = ledger.row(call.name, "norm", len(numbers))
        ledger.join("norm", numbers, row.numbers)
        numbers = row.numbers
    for column, weight in found.items():
        ledger.take(column, numbers)
        ledger.columns[weight.name] = Column(weight.name, column, numbers.reshape(run.shapes[weight.name]))
    return Activation(call.value, spread(numbers, call.value.shape, axis), True)


def gated(run: Run, call: Call) -> Any:
    """`glu(x, axis)`: the first half times a gate that the second half opens."""
    x = call.args[0]
    if not isinstance(x, Activation):
        return run.unknown(call, "a parameter goes through it")
    kept, gate = x.numbers.chunk(2, call.argument(1, "dim", -1))
    return together(run, call, "product", Activation(call.value, kept), Activation(call.value, gate))


def prelu(run: Run, call: Call) -> Any:
    """A slope for each channel of axis 1, or one for all."""
    x, slope = call.args[:2]
    if not isinstance(x, Activation):
        return run.unknown(call, "a parameter goes through it")
    result = activated(run, call, x)
    if not isinstance(slope, Weight) or slope.value.numel() == 1:
        return result
    return replace(attach(run, call, replace(x, fresh=False), 1, {"scale": slope}), fresh=False)


RULES: dict[str, Rule] = {
    **dict.fromkeys(FUNCTIONS, function),
    **dict.fromkeys((*SUMS, *PRODUCTS), combine),
    **dict.fromkeys(TESTS, tested),
    "prelu": prelu,
    "glu": gated,
}
