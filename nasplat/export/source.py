"""A traced network as the source of one class that needs only torch.

Short chains are written as nested calls, a variable is used again once its value is dead (`x` is what flows,
`y` and `z` are what waits), and blocks of the network are set apart by blank lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor, fx, nn
from torch.fx import Node

from nasplat.errors import ExportError
from nasplat.export.expressions import Expression, call, literal, statement
from nasplat.export.layers import layer_expression
from nasplat.export.names import attribute_names, block_of
from nasplat.export.operations import argument, function_expression, method_expression, module_expression

_FUNCTIONAL = re.compile(r"(?<![.\w])F\.")
_NESTED_CALLS = 3
_NESTED_LENGTH = 60

_FILE = '''"""A network exported by nasplat: ordinary PyTorch, no other library is needed.

{facts}
"""

from pathlib import Path

import torch
from torch import nn
{functional}

class Network(nn.Module):
    """{shapes}."""

    def __init__(self) -> None:
        super().__init__()
{layers}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
{forward}


def load(folder: str | Path = Path(__file__).parent) -> Network:
    """The network with its trained weights, in evaluation mode; folder: where weights.safetensors lies."""
    from safetensors.torch import load_file

    network = Network()
    network.load_state_dict(load_file(Path(folder) / "weights.safetensors"))
    return network.eval()
'''


@dataclass(frozen=True, slots=True)
class Shapes:
    """Shapes of one input and one output of a network, without the batch."""

    input: tuple[int, ...]
    output: tuple[int, ...]


def network_source(traced: fx.GraphModule, shapes: Shapes) -> str:
    """`network.py` of a traced network: a class `Network` and a function `load`.

    ExportError for a layer or an operation that cannot be written as plain source, naming it.
    """
    names = _names(traced)
    forward = list(_forward(traced, names))
    params = sum(tensor.numel() for _, tensor in _parameters(traced, names))
    sizes = [", ".join(["n", *map(str, shape)]) for shape in (shapes.input, shapes.output)]
    return _FILE.format(
        facts=f"{params:,} parameters. `load()` gives the network with its trained weights.",
        shapes=f"Input ({sizes[0]}) -> output ({sizes[1]})",
        functional="from torch.nn import functional as F\n" if _FUNCTIONAL.search("\n".join(forward)) else "",
        layers="\n".join(_constructor(traced, names)) or "        # no layers",
        forward="\n".join(forward),
    )


def network_weights(traced: fx.GraphModule) -> dict[str, Tensor]:
    """The tensors of a traced network under the names of its printed source, each with memory of its own."""
    names = _names(traced)
    weights: dict[str, Tensor] = {}
    for path, name in names.items():
        value = _attribute(traced, path)
        tensors = {"": value} if isinstance(value, Tensor) else value.state_dict(prefix=".")
        weights |= {name + leaf: tensor.detach().clone().contiguous() for leaf, tensor in tensors.items()}
    return weights


def _parameters(traced: fx.GraphModule, names: Mapping[str, str]) -> Iterator[tuple[str, Tensor]]:
    for path in names:
        value = _attribute(traced, path)
        if isinstance(value, nn.Parameter):
            yield path, value
        elif isinstance(value, nn.Module):
            yield from value.named_parameters(prefix=path)


def _names(traced: fx.GraphModule) -> dict[str, str]:
    """An attribute name for every layer, and for every tensor that belongs to no layer of the source."""
    layers = {str(node.target) for node in traced.graph.nodes if node.op == "call_module"}
    return attribute_names(
        str(node.target)
        for node in traced.graph.nodes
        if node.op == "call_module"
        or (node.op == "get_attr" and str(node.target).rpartition(".")[0] not in layers)
    )


def _attribute(traced: fx.GraphModule, path: str) -> Tensor | nn.Module:
    value: object = traced
    for part in path.split("."):
        value = getattr(value, part)
    if not isinstance(value, Tensor | nn.Module):
        raise ExportError(f"cannot write the attribute {path!r} as source: it is a {type(value).__name__}")
    return value


def _constructor(traced: fx.GraphModule, names: Mapping[str, str]) -> Iterator[str]:
    previous = None
    for path, name in names.items():
        if previous is not None and block_of(path) != previous:
            yield ""
        previous = block_of(path)
        value = _attribute(traced, path)
        if isinstance(value, nn.Module):
            yield from statement(f"self.{name} = ", layer_expression(value))
        elif isinstance(value, nn.Parameter):
            yield from statement(f"self.{name} = ", call("nn.Parameter", [_empty(value)]))
        else:
            yield from statement("", call("self.register_buffer", [literal(name).text, _empty(value)]))


def _empty(tensor: Tensor) -> str:
    dtype = [] if tensor.dtype == torch.float32 else [f"dtype={tensor.dtype}"]
    return call("torch.empty", [*map(str, tensor.shape or ["()"]), *dtype]).text


def _forward(traced: fx.GraphModule, names: Mapping[str, str]) -> Iterator[str]:
    nodes = [node for node in traced.graph.nodes if node.op != "get_attr"]
    values: dict[Node, Expression] = {
        node: Expression(_tensor_text(str(node.target), names))
        for node in traced.graph.nodes
        if node.op == "get_attr"
    }
    variables = _Variables(nodes)
    blocks = _blocks(nodes)
    for i, node in enumerate(nodes):
        if i and blocks[i] != blocks[i - 1] and nodes[i - 1].op != "placeholder" and node.op != "output":
            yield ""
        if node.op == "placeholder":
            values[node] = Expression(variables.take(node, i))
            continue
        value = _expression(node, names, values)
        if node.op == "output":
            yield from statement("return ", value)
        elif blocks[i] == blocks[i + 1] and _nests(node, nodes[i + 1], value):
            values[node] = value
        elif node.users:
            variable = variables.take(node, i)
            values[node] = Expression(variable)
            yield from statement(f"{variable} = ", value)
        else:
            yield from statement("", value)


def _expression(node: Node, names: Mapping[str, str], values: Mapping[Node, Expression]) -> Expression:
    if node.op == "call_module":
        return module_expression(node, names[str(node.target)], values)
    if node.op == "call_function":
        return function_expression(node, values)
    if node.op == "call_method":
        return method_expression(node, values)
    return argument(node.args[0], values)


def _nests(node: Node, user: Node, value: Expression) -> bool:
    """Whether a value is written inside the expression of the next node, its only user and once only."""
    uses: list[Node] = []
    fx.node.map_arg((user.args, user.kwargs), uses.append)
    shallow = value.calls < _NESTED_CALLS or user.op == "output"
    short = shallow and len(value.text) <= _NESTED_LENGTH
    return short and list(node.users) == [user] and uses.count(node) == 1


def _tensor_text(path: str, names: Mapping[str, str]) -> str:
    owner, _, leaf = path.rpartition(".")
    return f"self.{names[path]}" if path in names else f"self.{names[owner]}.{leaf}"


def _blocks(nodes: list[Node]) -> list[str]:
    """The block of every node: that of its layer, or of the layer before it."""
    blocks: list[str] = []
    for node in nodes:
        previous = blocks[-1] if blocks else ""
        blocks.append(block_of(str(node.target)) if node.op == "call_module" else previous)
    return blocks


class _Variables:
    """Hands out variable names: the first one whose value nobody needs any more."""

    def __init__(self, nodes: list[Node]) -> None:
        position = {node: i for i, node in enumerate(nodes)}
        self._last_use = {node: max((position[u] for u in node.users), default=-1) for node in nodes}
        self._owners: dict[str, Node] = {}

    def take(self, node: Node, position: int) -> str:
        """A name for the value of a node; names whose last use is at this position or before are free."""
        pool = (name for names in ("xyzuvw", (f"v{i}" for i in count(1))) for name in names)
        name = next(name for name in pool if self._free(name, position))
        self._owners[name] = node
        return name

    def _free(self, name: str, position: int) -> bool:
        owner = self._owners.get(name)
        return owner is None or self._last_use[owner] <= position
