"""A node of a traced graph as the expression that a person would write."""

from __future__ import annotations

import builtins
import inspect
import operator
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch.fx import Node

from nasplat.errors import ExportError
from nasplat.export import expressions as e
from nasplat.export.expressions import Expression

_BINARY: dict[Callable[..., Any], tuple[str, int]] = {
    operator.add: ("+", e.SUM),
    operator.sub: ("-", e.SUM),
    operator.mul: ("*", e.PRODUCT),
    operator.truediv: ("/", e.PRODUCT),
    operator.floordiv: ("//", e.PRODUCT),
    operator.mod: ("%", e.PRODUCT),
    operator.matmul: ("@", e.PRODUCT),
    operator.pow: ("**", e.POWER),
    operator.lshift: ("<<", e.SHIFT),
    operator.rshift: (">>", e.SHIFT),
    operator.and_: ("&", e.AND),
    operator.xor: ("^", e.XOR),
    operator.or_: ("|", e.OR),
    operator.lt: ("<", e.COMPARISON),
    operator.le: ("<=", e.COMPARISON),
    operator.gt: (">", e.COMPARISON),
    operator.ge: (">=", e.COMPARISON),
    operator.eq: ("==", e.COMPARISON),
    operator.ne: ("!=", e.COMPARISON),
}
_UNARY: dict[Callable[..., Any], str] = {operator.neg: "-", operator.pos: "+", operator.invert: "~"}
_NAMESPACES = (
    ("torch", torch),
    ("F", F),
    ("torch.linalg", torch.linalg),
    ("torch.special", torch.special),
    ("torch.fft", torch.fft),
)

Values = Mapping[Node, Expression]


def function_expression(node: Node, values: Values) -> Expression:
    """A `call_function` node: an operator as its symbol, a function by the name that torch gives it."""
    target: Any = node.target
    arguments = [argument(item, values) for item in node.args]
    if target in _BINARY and not node.kwargs:
        return e.binary(*_BINARY[target], *arguments)
    if target in _UNARY:
        return e.unary(_UNARY[target], arguments[0])
    if target is operator.getitem:
        return e.index(arguments[0], arguments[1], isinstance(node.args[1], tuple))
    if target is builtins.getattr and len(arguments) == 2:
        return Expression(f"{arguments[0].inside(e.ATOM)}.{node.args[1]}", calls=arguments[0].calls)
    name = _function_name(target)
    if name is None:
        raise ExportError(
            f"cannot write the operation {_described(target)} as source; use a public torch function"
        )
    return _call(name, node.args, _without_defaults(target, node.kwargs), values)


def method_expression(node: Node, values: Values) -> Expression:
    """A `call_method` node: `x.mean((2, 3))`."""
    if not hasattr(torch.Tensor, str(node.target)):
        raise ExportError(
            f"cannot write the operation .{node.target}() as source; it is no method of a tensor"
        )
    owner = argument(node.args[0], values)
    return _call(f"{owner.inside(e.ATOM)}.{node.target}", node.args[1:], node.kwargs, values, owner.calls)


def module_expression(node: Node, name: str, values: Values) -> Expression:
    """A `call_module` node: `self.conv(x)`."""
    return _call(f"self.{name}", node.args, node.kwargs, values)


def argument(value: Any, values: Values) -> Expression:
    """An argument of a node: another node's expression, a constant, or a list, tuple or slice of such."""
    if isinstance(value, Node):
        return values[value]
    if isinstance(value, slice):
        parts = [None if p is None else argument(p, values) for p in (value.start, value.stop, value.step)]
        return Expression(e.slice_of(*parts), calls=sum(p.calls for p in parts if p))
    if isinstance(value, list | tuple):
        items = [argument(item, values) for item in value]
        text = e.sequence([item.text for item in items], type(value))
        return Expression(text, calls=sum(item.calls for item in items))
    return e.literal(value)


def _call(
    head: str, args: Sequence[Any], kwargs: Mapping[str, Any], values: Values, calls: int = 0
) -> Expression:
    positional = [argument(value, values) for value in args]
    named = {name: argument(value, values) for name, value in kwargs.items()}
    texts = [value.text for value in positional] + [f"{name}={value.text}" for name, value in named.items()]
    return e.call(head, texts, calls + sum(value.calls for value in [*positional, *named.values()]))


@cache
def _function_name(target: Any) -> str | None:
    for prefix, namespace in _NAMESPACES:
        for name, value in vars(namespace).items():
            if value is target and not name.startswith("_"):
                return f"{prefix}.{name}"
    return None


def _without_defaults(target: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments that say something: tracing a function of torch.nn.functional records all of them."""
    name = getattr(target, "__name__", "")
    # F.max_pool2d and its kin are dispatchers; their signature is that of F.max_pool2d_with_indices
    described = getattr(F, f"{name}_with_indices", target)
    try:
        parameters = inspect.signature(described).parameters
    except (TypeError, ValueError):  # a function written in C++
        return dict(kwargs)
    return {
        k: v for k, v in kwargs.items() if not k.startswith("_") and not _is_default(parameters.get(k), v)
    }


def _is_default(parameter: inspect.Parameter | None, value: Any) -> bool:
    if parameter is None or isinstance(value, Node):
        return False
    default = parameter.default
    return type(value) is type(default) and bool(value == default)


def _described(target: Any) -> str:
    return f"{getattr(target, '__module__', '')}.{getattr(target, '__name__', target)}"
