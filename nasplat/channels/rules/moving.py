"""Operations that only move numbers about: executed on the numbers of neurons themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from nasplat.channels.constants import constants, is_nobody, meet, moves, varied_axes
from nasplat.channels.run import Call, Rule, Run, mapped_tensors
from nasplat.channels.values import NONE, Activation, Weight, carriers, mapped, spread

SAME = ("contiguous", "clone", "detach", "to", "float", "double", "half", "type", "type_as", "requires_grad", "alias",
        "_to_copy", "dropout", "dropout2d", "dropout3d", "alpha_dropout", "feature_dropout", "lift_fresh_copy",
        "detach_copy", "native_dropout", "cpu", "cuda")  # fmt: skip
"""Operations that give what they were given."""

MOVES = ("flatten", "unflatten", "permute", "transpose", "t", "movedim", "moveaxis", "swapaxes", "swapdims", "squeeze",
         "unsqueeze", "expand", "expand_as", "repeat", "tile", "repeat_interleave", "chunk", "split", "tensor_split",
         "split_with_sizes", "unbind", "narrow", "select", "slice", "flip", "roll", "cat", "concat", "concatenate",
         "stack", "hstack", "vstack", "channel_shuffle", "pixel_shuffle", "pixel_unshuffle", "diagonal", "unfold",
         "adjoint", "broadcast_to", "ravel", "tril", "triu", "getattr", "slice_scatter", "select_scatter")  # fmt: skip
"""Operations that act on whole numbers as they act on values."""


JOINING = ("cat", "concat", "concatenate", "stack", "hstack", "vstack", "slice_scatter", "select_scatter")
"""Those of several operands."""

DIAGONAL = ("diagonal", "tril", "triu")
"""Those that tell places apart by channels, where channels lie along one of their two axes."""

CUTTING = ("roll", "narrow", "slice", "getitem", "unfold", "select")
"""Those that may take a part of the places of a channel, where an axis holds channels and places."""

VIEWS = ("view", "reshape", "view_as", "reshape_as", "unsafe_view")


def same(run: Run, call: Call) -> Any:
    """Gives its first argument."""
    source = next(carriers(call.args))
    if isinstance(source, Weight):
        return source

    def kept(value: Tensor) -> Activation:
        return replace(source, value=value, numbers=source.numbers.expand(value.shape))

    return mapped_tensors(call.value, kept)


def move(run: Run, call: Call) -> Any:
    """The operation itself, on numbers; on places of a parameter where there are no neurons among the arguments."""
    found = list(carriers((call.args, call.kwargs)))
    weights = [one for one in found if isinstance(one, Weight)]
    alone = len(weights) == len(found) and next(constants((call.args, call.kwargs)), None) is None
    if alone and len({one.name for one in weights}) == 1:
        return _rearranged(call, weights)
    if _takes_apart(run, call):
        return run.unknown(call, "it moves places of channels apart")
    args, kwargs = call.args, dict(call.kwargs)
    if call.operation in JOINING:
        args = _with_constants(run, call, args)
    if call.operation != "repeat_interleave":  # which reads how often from a tensor
        args, kwargs = _plain(args), _plain(kwargs)
    args, kwargs = mapped((args, kwargs), lambda one: _numbers(run, one))
    moved = _apply(call, *args, **kwargs)
    fresh = all(isinstance(one, Activation) and one.fresh for one in found)
    if len(found) == 1 and isinstance(found[0], Activation) and found[0].places is not None:
        return _with_places(call, moved, found[0].places, fresh)
    return _paired(call.value, moved, lambda value, numbers: Activation(value, numbers, fresh))


def _takes_apart(run: Run, call: Call) -> bool:
    """Whether which places of a channel go where may depend on the channel."""
    x = call.args[0] if call.args else None
    if not isinstance(x, Activation) or x.numbers.ndim < 1:
        return False
    varied = [axis for axis in range(x.numbers.ndim) if moves(x.numbers, axis)]
    if call.operation in DIAGONAL:
        return bool(varied)
    mixed = [axis for axis in varied if len(x.numbers.unique()) < x.numbers.shape[axis]]
    if call.operation not in CUTTING or not mixed or call.value is None or not isinstance(call.value, Tensor):
        return False
    cut = any(x.value.shape[axis] not in call.value.shape for axis in mixed)
    return cut or call.operation == "roll"


def _with_constants(run: Run, call: Call, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Operands beside others: constants that differ along channels of others, or stand between these, have places."""
    several = isinstance(args[0], tuple | list)
    operands = list(args[0] if several else args[:2])
    others = [one.numbers for one in operands if isinstance(one, Activation) and not is_nobody(one)]
    dim = _joined_axis(call, operands[0].ndim if isinstance(operands[0], Tensor) else operands[0].value.ndim)
    for place, one in enumerate(operands):
        if not is_nobody(one) or not others or _uniform(one):
            continue
        for numbers in others:
            meet(run, call, numbers, [axis for axis in varied_axes(one) if axis != dim])
        if dim is not None and any(moves(numbers, dim) for numbers in others):
            value = one.value if isinstance(one, Activation) else one
            row = run.ledger.row(call.name, "position", value.shape[dim])
            run.ledger.ends["input"].append(row.numbers)
            operands[place] = Activation(value, spread(row.numbers, value.shape, dim))
    return (type(args[0])(operands), *args[1:]) if several else (*operands, *args[2:])


def _uniform(one: Any) -> bool:
    return (
        one.uniform
        if isinstance(one, Activation)
        else not isinstance(one, FakeTensor) and not varied_axes(one)
    )


def _joined_axis(call: Call, ndim: int) -> int | None:
    """The axis along which operands stand one behind the other, counted from the last; None for a new one."""
    if call.operation in ("cat", "concat", "concatenate"):
        return int(call.argument(1, "dim", call.kwargs.get("axis", 0))) % ndim - ndim
    return {"hstack": 1 - ndim if ndim > 1 else -1, "vstack": -ndim}.get(call.operation)


def copied(run: Run, call: Call) -> Any:
    """`copy(x, source)`: what is written over x."""
    source = call.args[1]
    if not isinstance(source, Activation):
        return run.unknown(call, "a constant or parameter is written over it")
    return replace(source, value=call.value, numbers=source.numbers.expand(call.value.shape), fresh=False)


def filled(run: Run, call: Call) -> Any:
    """One constant everywhere, `zeros_like` and the like."""
    value = call.args[1] if call.operation == "fill" else None
    if isinstance(value, Tensor | Activation | Weight):
        return run.unknown(call, "it is filled by a tensor")
    return Activation(call.value, torch.tensor(NONE).expand(call.value.shape), uniform=True)


def _with_places(call: Call, moved: Any, places: Tensor, fresh: bool) -> Any:
    """The operation on neurons of places too."""
    args, kwargs = mapped((call.args, dict(call.kwargs)), lambda one: places)
    both = iter(_listed(_apply(call, *args, **kwargs)))
    return _paired(call.value, moved, lambda value, numbers: Activation(value, numbers, fresh, next(both)))


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, Tensor) else value


def _rearranged(call: Call, found: list[Weight]) -> Any:
    args, kwargs = mapped((call.args, dict(call.kwargs)), _places)
    mixed = any(one.mixed for one in found)
    moved = _apply(call, *args, **kwargs)
    return _paired(call.value, moved, lambda value, places: Weight(found[0].name, value, places, mixed))


def _places(one: Activation | Weight) -> Tensor:
    return one.places if isinstance(one, Weight) else one.numbers


def _numbers(run: Run, one: Activation | Weight) -> Tensor:
    return one.numbers if isinstance(one, Activation) else as_activation(run, one).numbers


def as_activation(run: Run, weight: Weight) -> Activation:
    """A parameter that is used as it stands: a neuron for each element, whose bias is the element."""
    ledger = run.ledger
    known = ledger.columns.get(weight.name) or ledger.constant(weight.name, run.shapes[weight.name])
    return Activation(weight.value, known.numbers.reshape(-1)[weight.places])


def _apply(call: Call, *args: Any, **kwargs: Any) -> Any:
    """What cannot be done to whole numbers is done to reals, which hold them exactly."""
    target = OTHERWISE.get(call.operation, call.target)
    try:
        return target(*args, **kwargs)
    except (RuntimeError, NotImplementedError):
        real = _plain(args, lambda tensor: tensor.double())
        return _each(target(*real, **kwargs), lambda tensor: tensor.round().long())


def _plain(value: Any, change: Callable[[Tensor], Tensor] | None = None) -> Any:
    """Arguments in which constants are numbers that belong to nobody."""
    if isinstance(value, Tensor):
        if change is not None:
            return change(value)
        return torch.full(value.shape, NONE)
    if isinstance(value, dict):
        return {key: _plain(one, change) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_plain(one, change) for one in value)
    return value


def _each(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    return change(value) if isinstance(value, Tensor) else type(value)(change(one) for one in value)


def _paired(values: Any, moved: Any, make: Callable[[Tensor, Tensor], Any]) -> Any:
    if isinstance(values, Tensor):
        return make(values, moved)
    return type(values)(make(value, one) for value, one in zip(values, moved, strict=True))


def view(run: Run, call: Call) -> Any:
    """A new shape; to another type of numbers it changes nothing."""
    if any(isinstance(argument, torch.dtype) for argument in call.args):
        return same(run, call)
    return move(run, call)


def pad(run: Run, call: Call) -> Any:
    """Padding by a constant belongs to nobody; padding by values goes by places, the same on every channel."""
    (x, sizes), mode = call.args[:2], call.argument(2, "mode", "constant")
    if not isinstance(x, Activation):
        return run.unknown(call, "a parameter is padded")
    if mode == "constant" or not isinstance(mode, str):
        return Activation(call.value, F.pad(x.numbers, sizes, value=NONE))
    return Activation(call.value, over_places(run, x, len(sizes) // 2, call.value.shape))


def over_places(run: Run, x: Activation, axes: int, shape: torch.Size) -> Tensor:
    """Numbers where the last axes are places, which an operation mixes or moves channel by channel."""
    kept = range(x.numbers.ndim - axes)
    found = run.ledger.level(x.numbers, *kept).reshape([x.numbers.shape[axis] for axis in kept])
    return found.reshape(*found.shape, *(1,) * axes).expand(shape)


def item(run: Run, call: Call) -> Any:
    """Indexing: by numbers and slices it moves; by a tensor it picks along an axis, whatever it picks."""
    source, index = call.args
    if not isinstance(source, Activation | Weight):
        return call.target(source, index) if isinstance(source, tuple | list) else call.value
    parts = index if isinstance(index, tuple) else (index,)
    if not any(isinstance(part, Tensor | Activation) for part in parts):
        return move(run, call)
    if isinstance(source, Weight) or parts[0] is index is None:
        return run.unknown(call, "a parameter is indexed by a tensor")
    return run.unknown(call, "it picks by a tensor") if len(parts) > 1 else pick(run, call, source, 0)


def pick(run: Run, call: Call, source: Activation, axis: int) -> Any:
    """Some places of an axis, in any order: the others keep their numbers."""
    shape = source.value.shape
    axis %= len(shape)
    others = [place for place in range(len(shape)) if place != axis]
    found = run.ledger.level(source.numbers, *others).reshape([shape[place] for place in others])
    wide = (1,) * (call.value.ndim - len(others))
    found = found.reshape(*found.shape[:axis], *wide, *found.shape[axis:])
    return Activation(call.value, found.expand(call.value.shape))


FILLED = ("zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full", "zero", "fill", "empty_like",
          "rand_like", "randn_like")  # fmt: skip
"""Random numbers too: which channel draws which is as good as any."""

OTHERWISE: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("view", "_unsafe_view"), Tensor.reshape),
    "view_as": Tensor.reshape_as,
}
"""Numbers that take no memory have strides that a view may not like."""

RULES: dict[str, Rule] = {
    **dict.fromkeys(SAME, same),
    **dict.fromkeys(MOVES, move),
    **dict.fromkeys(VIEWS, view),
    **dict.fromkeys(("pad", "constant_pad_nd"), pad),
    "copy": copied,
    **dict.fromkeys(FILLED, filled),
    "getitem": item,
}
