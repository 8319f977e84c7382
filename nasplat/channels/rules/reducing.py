"""Operations over axes: means, pools, softmax, shapes of maps."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from nasplat.channels.rules.moving import over_places
from nasplat.channels.rules.norms import over
from nasplat.channels.rules.pointwise import combine, mixed
from nasplat.channels.run import Call, Rule, Run, mapped_tensors
from nasplat.channels.values import Activation, Weight, carriers

REDUCTIONS = ("mean", "sum", "amax", "amin", "max", "min", "var", "std", "norm", "vector_norm", "logsumexp", "prod",
              "median", "any", "all", "var_mean", "std_mean")  # fmt: skip
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
        return mixed(run, call, [x])
    axes, ndim = _reduced(call, x.value.ndim), x.value.ndim
    kept = over(run, x, axes).expand([1 if axis in axes else size for axis, size in enumerate(x.value.shape)])
    flat = kept[tuple(0 if axis in axes else slice(None) for axis in range(ndim))]

    def numbered(value: Tensor) -> Activation:
        return Activation(value, kept if value.ndim == ndim else flat)

    return mapped_tensors(call.value, numbered)


def _reduced(call: Call, ndim: int) -> set[int]:
    """The axes that a call reduces; those left out, or None, are all."""
    place = 2 if call.operation in ("norm", "vector_norm") else 1
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
    """A count or place of the largest: no channel's number."""
    return call.value


def cumulative(run: Run, call: Call) -> Any:
    """Along places it keeps channels; along channels their order has a meaning."""
    x, axis = call.args[0], call.argument(1, "dim")
    if not isinstance(x, Activation) or _varies(x.numbers, axis):
        return run.unknown(call, "the order of channels enters")
    return mapped_tensors(call.value, lambda value: Activation(value, x.numbers))


def _varies(numbers: Tensor, axis: int) -> bool:
    first = numbers.narrow(axis, 0, 1)
    return bool((numbers != first).any())


RULES: dict[str, Rule] = {
    **dict.fromkeys(REDUCTIONS, reduction),
    **dict.fromkeys(SOFTMAX, softmax),
    **dict.fromkeys((f"{name}{n}d" for name in POOLS for n in (1, 2, 3)), pool),
    **dict.fromkeys(("interpolate", "upsample", "upsample_nearest2d", "upsample_bilinear2d",
                     "max_pool2d_with_indices"), pool),
    **dict.fromkeys(("argmax", "argmin", "eq", "ne", "lt", "gt", "le", "ge", "isnan", "zeros_like", "ones_like",
                     "full_like", "rand_like", "randn_like", "empty_like", "new_zeros", "new_ones", "new_full",
                     "sym_size", "_assert_tensor_metadata", "isfinite", "logical_not"), to_scalar),
    **dict.fromkeys(("cumsum", "cumprod"), cumulative),
}  # fmt: skip
