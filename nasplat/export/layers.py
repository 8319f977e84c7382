"""A `torch.nn` layer as the line of source that constructs it."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from nasplat.errors import ExportError
from nasplat.export.expressions import Expression, call, literal

_MISSING: Any = inspect.Parameter.empty
_PLACEMENT = ("device", "dtype")
_PER_AXIS = (
    "kernel_size",
    "stride",
    "padding",
    "dilation",
    "output_padding",
    "output_size",
    "normalized_shape",
)


def layer_expression(layer: nn.Module) -> Expression:
    """The constructor call of a plain layer, defaults left out: `nn.Conv2d(3, 8, 3, padding=1)`.

    The arguments are read from the attributes of the same name, as torch.nn's layers keep them. The text is
    proved before it is given: it is evaluated (on the meta device: no memory, no random numbers) and must give a
    layer of the same description and the same parameter shapes. ExportError where it does not.
    """
    name = type(layer).__name__
    if getattr(nn, name, None) is not type(layer):
        raise ExportError(
            f"layer {_full_name(layer)} is not a plain torch.nn layer; build the network from those"
        )
    for per_axis in (False, True):
        text = _constructor(layer, per_axis)
        if text is not None and _describe(_build(text.text)) == _describe(layer):
            return text
    raise ExportError(f"cannot write the layer nn.{name} as source: its attributes do not tell its arguments")


def _constructor(layer: nn.Module, per_axis: bool) -> Expression | None:
    """The call that the attributes of a layer suggest; None when they do not tell every required argument."""
    positional: list[str] = []
    named: list[str] = []
    try:
        for parameter in _parameters(layer):
            required = parameter.default is _MISSING
            value = _argument(layer, parameter.name, per_axis)
            if required and value is _MISSING:
                return None
            if required:
                positional.append(literal(value).text)
            elif value is not _MISSING and value != parameter.default:
                named.append(f"{parameter.name}={literal(value).text}")
    except ExportError:  # an argument that is no constant, such as a function
        return None
    return call(f"nn.{type(layer).__name__}", [*positional, *named])


def _parameters(layer: nn.Module) -> list[inspect.Parameter]:
    """The constructor's parameters that make a difference: not where the layer lies, not `*args, **kwargs`."""
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [
        parameter
        for parameter in inspect.signature(type(layer)).parameters.values()
        if parameter.kind not in variable and parameter.name not in _PLACEMENT and parameter.name[0] != "_"
    ]


def _argument(layer: nn.Module, name: str, per_axis: bool) -> Any:
    """The value of a constructor argument; _MISSING when the layer does not keep it."""
    value: Any = getattr(layer, name, _MISSING)
    if name == "bias":
        return isinstance(value, Tensor) or value is True
    if name == "stride" and value == getattr(layer, "kernel_size", None) and "Pool" in type(layer).__name__:
        return None  # a pooling layer steps by its window unless told otherwise
    if name not in _PER_AXIS or not isinstance(value, tuple) or per_axis:
        return value
    one = len(value) == 1 or (len(set(value)) == 1 and name != "normalized_shape")
    return value[0] if one else value


def _build(text: str) -> nn.Module | None:
    try:
        with torch.device("meta"):
            layer = eval(text, {"nn": nn, "torch": torch})  # our own text, made of literals
    except (TypeError, ValueError, RuntimeError):
        return None
    return layer if isinstance(layer, nn.Module) else None


def _describe(layer: nn.Module | None) -> object:
    if layer is None:
        return None
    return repr(layer), [(name, tensor.shape) for name, tensor in layer.state_dict().items()]


def _full_name(layer: nn.Module) -> str:
    return f"{type(layer).__module__}.{type(layer).__qualname__}"
