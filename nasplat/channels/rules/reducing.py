"""Operations over axes: means, pools, softmax, shapes of maps."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor

from nasplat.channels.constants import moves
from nasplat.channels.rules.moving import over_places
from nasplat.channels.rules.norms import over
from nasplat.channels.rules.pointwise import combine, mixed
from nasplat.channels.run import Call, Rule, Run, mapped_tensors
from nasplat.channels.values import NONE, Activation, Weight, carriers

REDUCTIONS = ("mean", "sum", "amax", "amin", "max", "min", "var", "std", "norm", "vector_norm", "logsumexp", "prod",
              "median", "any", "all", "var_mean", "std_mean", "linalg_vector_norm", "count_nonzero")  # fmt: skip
SOFTMAX = ("softmax", "log_softmax", "_softmax", "_log_softmax", "normalize", "softmin")
POOLS = {
    "max_pool": "kernel", "avg_pool": "kernel", "adaptive_avg_pool": "size", "adaptive_max_pool": "size",
    "lp_pool": "kernel", "interpolate": "", "upsample": "",
}  # fmt: skip


def reduction(run: Run, call: Call) -> Any:
    """`mean(x, axes, keepdim)` and the like: who stands along the axes alone stays, others become a block."""
    operands = list(carriers((call.args, call.kwargs)))
    if len(operands) > 1:
        return combine(run, call)
    x = operands[0]
    if isinstance(x, Weight):
        return _of_weight(run, call, x)
    if _tells_places(run, call, x):
        return run.unknown(call, "it says which channel is the largest")
    axes, ndim = _reduced(call, x.value.ndim), x.value.ndim
    kept = over(run, x, axes).expand([1 if axis in axes else size for axis, size in enumerate(x.value.shape)])
    flat = kept[tuple(0 if axis in axes else slice(None) for axis in range(ndim))]

    def numbered(value: Tensor) -> Activation:
        return Activation(value, kept if value.ndim == ndim else flat)

    return mapped_tensors(call.value, numbered)


def _of_weight(run: Run, call: Call, weight: Weight) -> Any:
    """One number from a whole parameter, whatever the order in it, or several from parts of it."""
    whole = weight.elements is None and not weight.mixed
    if whole and isinstance(call.value, Tensor) and call.value.numel() == 1:
        return Activation(call.value, torch.tensor(NONE).expand(call.value.shape), uniform=True)
    return mixed(run, call, [weight])


def _tells_places(run: Run, call: Call, x: Activation) -> bool:
    """Whether somebody reads where along channels the largest stands."""
    if not isinstance(call.value, tuple) or call.operation not in ("max", "min", "median"):
        return False
    values_only = all(
        (user.target is operator.getitem and user.args[1] == 0)
        or (user.target is getattr and user.args[1] == "values")
        for user in run.running.users
    )
    return not values_only and any(moves(x.numbers, axis) for axis in _reduced(call, x.value.ndim))


def place_of(run: Run, call: Call) -> Any:
    """`argmax(x, axis)`: along places it says something of each channel; along channels their order enters."""
    x = call.args[0]
    if not isinstance(x, Activation) or any(moves(x.numbers, axis) for axis in _reduced(call, x.value.ndim)):
        return run.unknown(call, "it says which channel is the largest")
    return reduction(run, call)


def _reduced(call: Call, ndim: int) -> set[int]:
    """The axes that a call reduces; those left out, or None, are all."""
    place = 2 if call.operation in ("norm", "vector_norm", "linalg_vector_norm") else 1
    axes = call.argument(place, "dim")
    if axes is None or isinstance(axes, bool) or (isinstance(axes, list | tuple) and not axes):
        return set(range(ndim))
    return {axis % ndim for axis in (axes if isinstance(axes, list | tuple) else [axes])}


def softmax(run: Run, call: Call) -> Any:
    """Numbers along one axis are set in proportion: they are read alike and stay who they are."""
    x = call.args[0]
    if not isinstance(x, Activation):
        return run.unknown(call, "a parameter goes through it")
    place, default = (2, 1) if call.operation == "normalize" else (1, -1)
    axis = call.argument(place, "dim", default)
    over(run, x, [-1 if axis is None else axis])
    return Activation(call.value, x.numbers)


def pool(run: Run, call: Call) -> Any:
    """Each channel on its own, over places: the last axes."""
    x = call.args[0]
    if not isinstance(x, Activation):
        return run.unknown(call, "a parameter goes through it")
    axes = x.value.ndim - (2 if x.value.ndim > 2 else 1)
    name = call.operation
    if name[-2:-1].isdigit() and name.endswith("d"):
        axes = int(name[-2])
    return mapped_tensors(call.value, lambda value: Activation(value, _over(run, call, x, axes, value)))


def _over(run: Run, call: Call, x: Activation, axes: int, value: Tensor) -> Tensor:
    return over_places(run, x, axes, value.shape)


def to_scalar(run: Run, call: Call) -> Any:
    """A size: no channel's number."""
    return call.value


def cumulative(run: Run, call: Call) -> Any:
    """Along places it keeps channels; along channels their order has a meaning."""
    x, axis = call.args[0], call.argument(1, "dim")
    if not isinstance(x, Activation) or moves(x.numbers, axis):
        return run.unknown(call, "the order of channels enters")
    return mapped_tensors(call.value, lambda value: Activation(value, x.numbers))


RULES: dict[str, Rule] = {
    **dict.fromkeys(REDUCTIONS, reduction),
    **dict.fromkeys(SOFTMAX, softmax),
    **dict.fromkeys((f"{name}{n}d" for name in POOLS for n in (1, 2, 3)), pool),
    **dict.fromkeys(("interpolate", "upsample", "upsample_nearest2d", "upsample_bilinear2d",
                     "max_pool2d_with_indices"), pool),
    **dict.fromkeys(("argmax", "argmin"), place_of),
    **dict.fromkeys(("sym_size", "_assert_tensor_metadata"), to_scalar),
    **dict.fromkeys(("cumsum", "cumprod", "cummax", "cummin", "logcumsumexp"), cumulative),
}  # fmt: skip
