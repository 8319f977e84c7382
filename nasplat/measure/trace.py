"""A network traced by torch.fx: what its nodes give, without computing values."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx

JOINS: dict[object, str] = {
    **dict.fromkeys((operator.add, operator.iadd, torch.add, "add", "add_"), "sum"),
    **dict.fromkeys((operator.mul, operator.imul, torch.mul, "mul", "mul_"), "product"),
    **dict.fromkeys((torch.cat, torch.concat), "concatenation"),
}
"""The functions and tensor methods that bring two paths together."""


def join_kind(node: fx.Node) -> str:
    """How a node joins its inputs: a value of JOINS, or empty for any other node."""
    return JOINS.get(node.target, "") if node.op in ("call_function", "call_method") else ""


@contextmanager
def only_shapes() -> Iterator[None]:
    """Inside the block, tensors made from example inputs and weights have shapes and no values."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        yield


class ShapeRun(fx.Interpreter):
    """Runs a traced graph and remembers the shape of every tensor in `known`."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.known: dict[fx.Node, tuple[int, ...]] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, Tensor):
            self.known[n] = tuple(result.shape)
        return result
