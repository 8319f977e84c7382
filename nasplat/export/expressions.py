"""Python expressions as text that knows how tightly it binds."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from nasplat.errors import ExportError

LINE = 110
ATOM, POWER, UNARY, PRODUCT, SUM, SHIFT, AND, XOR, OR, COMPARISON = range(10, 0, -1)
_SIMPLE = re.compile(r"-?[\w.]+")


@dataclass(frozen=True, slots=True)
class Expression:
    """Source text, how tightly its outermost operator binds (higher: tighter), and the calls that it nests.

    A call also keeps its head and its arguments, so that a long line can be broken between them.
    """

    text: str
    rank: int = ATOM
    calls: int = 0
    head: str = ""
    arguments: tuple[str, ...] = ()

    def inside(self, rank: int) -> str:
        """The text as an operand of an operator of some rank: in parentheses where it binds less tightly."""
        return self.text if self.rank >= rank else f"({self.text})"


def call(head: str, arguments: Sequence[str], calls: int = 0) -> Expression:
    """`head(arguments)`; calls: how many calls the arguments nest already."""
    text = f"{head}({', '.join(arguments)})"
    return Expression(text, calls=calls + 1, head=head, arguments=tuple(arguments))


def binary(symbol: str, rank: int, left: Expression, right: Expression) -> Expression:
    """`left symbol right`, left-associative; a power of simple operands is written tight, as formatters do."""
    if rank == POWER:
        a, b = left.inside(ATOM), right.inside(ATOM)
        text = f"{a}**{b}" if _SIMPLE.fullmatch(a) and _SIMPLE.fullmatch(b) else f"{a} ** {b}"
    else:
        text = f"{left.inside(rank)} {symbol} {right.inside(rank + 1)}"
    return Expression(text, rank, left.calls + right.calls)


def unary(symbol: str, operand: Expression) -> Expression:
    """`symbol operand`; a power stands in parentheses, as formatters write it."""
    return Expression(
        f"{symbol}{operand.inside(ATOM if operand.rank == POWER else UNARY)}", UNARY, operand.calls
    )


def index(value: Expression, key: Expression, tuple_key: bool) -> Expression:
    """`value[key]`; a tuple stands without its parentheses."""
    text = key.text[1:-1].removesuffix(",") if tuple_key and key.text != "()" else key.text
    return Expression(f"{value.inside(ATOM)}[{text}]", calls=value.calls + key.calls)


def slice_of(start: Expression | None, stop: Expression | None, step: Expression | None) -> str:
    """`start:stop:step` inside an index; spaced where an operand is more than a name or a number."""
    parts = ["" if part is None else part.text for part in (start, stop)] + ([step.text] if step else [])
    simple = all(re.fullmatch(r"-?\w*", part) for part in parts)
    return ":".join(parts) if simple else re.sub(r" +", " ", " : ".join(parts)).strip()


def sequence(items: Sequence[str], kind: type) -> str:
    """A list or tuple of expressions."""
    inner = ", ".join(items)
    if issubclass(kind, list):
        return f"[{inner}]"
    return f"({inner},)" if len(items) == 1 else f"({inner})"


def literal(value: Any) -> Expression:
    """A constant of the forward code or of a constructor; ExportError for one that has no plain source."""
    if isinstance(value, list | tuple):
        return Expression(sequence([literal(item).text for item in value], type(value)))
    if isinstance(value, str | torch.device):
        return Expression(json.dumps(str(value)))
    if isinstance(value, float) and not math.isfinite(value):
        return Expression(f'float("{value}")')
    if value is None or isinstance(value, bool | int | float):
        return Expression(repr(value), UNARY if repr(value).startswith("-") else ATOM)
    if isinstance(value, torch.dtype | torch.memory_format):
        return Expression(str(value))
    if value is Ellipsis:
        return Expression("...")
    raise ExportError(f"cannot write a constant of type {type(value).__name__} as source")


def statement(start: str, expression: Expression, indent: int = 8) -> list[str]:
    """The lines of `start` followed by an expression; a call that is too long is broken between its arguments."""
    space = " " * indent
    line = f"{space}{start}{expression.text}"
    if len(line) <= LINE or not expression.arguments:
        return [line]
    inner = " " * (indent + 4)
    joined = inner + ", ".join(expression.arguments)
    body = [joined] if len(joined) <= LINE else [f"{inner}{argument}," for argument in expression.arguments]
    return [f"{space}{start}{expression.head}(", *body, f"{space})"]
