"""A program of torch.export as an ordinary module again: layers, functions and methods in place of ATen operations.

A program holds weights and calls, not layers, and its norms never train. Here a call that a layer of `torch.nn` makes
becomes that layer, under the name of its weight, and any other call the function or method of torch of the same name.
That it is the same network is not assumed but tried, on random inputs.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.fx import Node

from nasplat.errors import ExportError
from nasplat.export import load_program
from nasplat.study.pruning.layers import Held, Made, layer_of

TOLERANCE = 1e-4
"""The largest absolute difference of an output that rounding explains: float32, as in a verified bundle."""

CHECKS = ("_assert", "sym_constrain", "alias")


def load_layers(path: Path) -> nn.Module:
    """The network of a `.pt2` file in evaluation mode on the CPU, for batches of any size.

    A size that the program holds as a plain number stays that number: the channels before it cannot be pruned.
    ExportError: a file that is damaged or needs pickle; a program of several inputs or outputs, of a fixed batch, or
    one that comes out as another network.
    """
    program = load_program(path)
    shape, kind = _example(program, path)
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(kind)
    try:
        module = _Reading(program).module().eval()
        with torch.no_grad():
            difference = float((module(inputs) - program.module()(inputs)).abs().max())
    except Exception as error:  # operations of any kind, under names that may mean something else
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ExportError(
            f"{path} cannot be read as layers: {reason}; give the module and --weights"
        ) from error
    if not difference <= TOLERANCE:
        raise ExportError(
            f"{path} comes out as another network, off by {difference:.3g}; give the module and --weights"
        )
    _check_batch(module, inputs, path)
    return module


def _example(program: ExportedProgram, path: Path) -> tuple[list[int], torch.dtype]:
    """Shape and type of the program's one input; two examples where their number is free."""
    signature = program.graph_signature
    values = [node.meta.get("val") for node in program.graph.nodes if node.name in signature.user_inputs]
    if len(values) != 1 or not isinstance(values[0], Tensor) or len(signature.user_outputs) != 1:
        raise ExportError(
            f"{path} takes {len(values)} inputs; expected a program of one input and one output"
        )
    shape = [size if isinstance(size, int) else 2 for size in values[0].shape]
    return shape, values[0].dtype


def _check_batch(module: nn.Module, inputs: Tensor, path: Path) -> None:
    more = torch.cat([inputs, inputs[:1]])
    try:
        with torch.no_grad():
            fits = len(module(more)) == len(more)
    except RuntimeError:
        fits = False
    if not fits:
        raise ExportError(
            f"{path} runs on batches of {len(inputs)} only; export it with a free batch size (dynamic_shapes)"
        )


@dataclass(slots=True)
class _Reading:
    """A program on its way to a module: values by node, tensors and layers by name."""

    program: ExportedProgram
    graph: fx.Graph = field(default_factory=fx.Graph)
    values: dict[Node, Any] = field(default_factory=dict)
    held: dict[str, Any] = field(default_factory=dict)
    forms: dict[str, str] = field(default_factory=dict)

    def module(self) -> fx.GraphModule:
        """The module of the whole program."""
        tensors = self._tensors()
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                self.values[node] = tensors.get(node.name) or self.graph.placeholder("x")
            elif node.op == "call_function" and not _name(node).startswith(CHECKS):
                self.values[node] = self._called(node)
            elif node.op == "call_function":
                self.values[node] = self.values[node.all_input_nodes[0]] if node.all_input_nodes else None
            elif node.op == "output":
                self.graph.output(self._plain(node.args[0][0]))
        return fx.GraphModule(self.held, self.graph)

    def _tensors(self) -> dict[str, Held]:
        """What the placeholders of weights and constants stand for; copies, equal ones shared."""
        signature = self.program.graph_signature
        names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        names |= signature.inputs_to_lifted_tensor_constants
        given = {**self.program.constants, **self.program.state_dict}
        trained = set(signature.inputs_to_parameters.values())
        copies = {name: given[name].detach().clone() for name in names.values()}
        copies |= {name: nn.Parameter(copies[name], given[name].requires_grad) for name in trained}
        return {place: Held(name, copies[name]) for place, name in names.items()}

    def _called(self, node: Node) -> Any:
        """The call of a node, written anew."""
        given = _arguments(node, self.values)
        value = node.meta.get("val")
        made = layer_of(_name(node), given, value.ndim if isinstance(value, Tensor) else 0)
        if made is not None and self.forms.setdefault(made.name, repr(made.layer)) == repr(made.layer):
            if made.name not in self.held:
                self.held[made.name] = self._filled(made)
            return self.graph.call_module(made.name, (self._plain(node.args[0]),))
        if _name(node) == "dropout":
            return self.values[node.all_input_nodes[0]]
        return self._function(node)

    def _filled(self, made: Made) -> nn.Module:
        for word, held in made.tensors.items():
            setattr(made.layer, word, held.tensor)
        counted = self.program.state_dict.get(f"{made.name}.num_batches_tracked")
        if counted is not None and hasattr(made.layer, "num_batches_tracked"):
            made.layer.num_batches_tracked = counted.detach().clone()
        return made.layer

    def _function(self, node: Node) -> Node:
        """The call of a function or method of torch of the operation's name; else of the operation itself."""
        name = _name(node)
        args, kwargs = self._plain(node.args), self._plain(node.kwargs)
        written: Any = OPERATORS.get(name)
        if written is not None and not kwargs:
            return self.graph.call_function(written, args)
        if name == "sym_size":
            return self.graph.call_method("size", args)
        if name == "slice":
            return self.graph.call_function(operator.getitem, _slice(*args))
        function = getattr(torch, name, None) or getattr(F, name, None)
        if name and callable(function):
            return self.graph.call_function(function, args, kwargs)
        if name and hasattr(Tensor, name):
            return self.graph.call_method(name, args, kwargs)
        return self.graph.call_function(node.target, args, kwargs)  # type: ignore[arg-type]

    def _plain(self, arguments: Any) -> Any:
        """Arguments with the new nodes in place of the old ones."""
        return fx.node.map_arg(arguments, self._value)

    def _value(self, node: Node) -> Any:
        found = self.values[node]
        if not isinstance(found, Held):
            return found
        self.held.setdefault(found.name, found.tensor)
        return self.graph.get_attr(found.name)


OPERATORS = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "matmul": operator.matmul,
    "neg": operator.neg,
}


def _name(node: Node) -> str:
    """The plain name of an ATen operation; "" for what is none, such as arithmetic on sizes."""
    packet = getattr(node.target, "overloadpacket", None)
    return str(getattr(packet, "__name__", ""))


def _arguments(node: Node, values: dict[Node, Any]) -> dict[str, Any]:
    """The arguments of an operation by the names of its schema, with its defaults; none for what is no operation."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return {}
    found = {
        argument.name: argument.default_value for argument in schema.arguments if argument.has_default_value()
    }
    found |= {argument.name: value for argument, value in zip(schema.arguments, node.args, strict=False)}
    found |= node.kwargs
    return {
        name: values.get(value, value) if isinstance(value, Node) else value for name, value in found.items()
    }


def _slice(
    x: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> tuple[Any, tuple[Any, ...]]:
    """A tensor and its index: ATen's way to say "to the end" is the largest number."""
    last = None if end == 2**63 - 1 else end
    whole = (slice(None),) * dim if dim >= 0 else (Ellipsis,)
    rest = () if dim >= 0 else (slice(None),) * (-dim - 1)
    return x, (*whole, slice(start or None, last, None if step == 1 else step), *rest)
