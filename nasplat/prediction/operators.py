"""Any network as a graph of its operations, by tracing."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException
from torch.nn.modules.conv import _ConvNd

from nasplat.channels.refusals import quiet
from nasplat.errors import NasplatError
from nasplat.measure.size import counted_macs, evaluating
from nasplat.measure.symbolic import Traced, exported, plain_word, symbolic
from nasplat.measure.trace import ShapeRun, join_kind, only_shapes
from nasplat.space import ArchGraph

FEATURES = ("log_params", "log_macs", "log_elements", "log_channels", "log_stride")
"""Natural logarithms of 1 + parameters, 1 + multiply-adds, elements and channels of the output for one input, and of
the factor by which the sides of the map shrink."""

JOINED = {"sum": "add", "product": "mul", "concatenation": "concat"}

COPIES = ("identity", "dropout", "alpha_dropout", "clone", "detach", "contiguous", "to", "float", "type")
SHAPES = ("flatten", "unflatten", "view", "reshape", "squeeze", "unsqueeze", "expand")
ORDERS, PARTS = ("permute", "transpose", "movedim"), ("getattr", "getitem", "chunk", "split", "unbind")
ATEN = {"slice": "getitem", "select": "getitem", "to_copy": "to", "alias": "identity", "unsafe_view": "view",
        "t": "transpose", "split_with_sizes": "split", "lift_fresh_copy": "clone", "cat": "concat",
        "scaled_dot_product_attention": "attention"}  # fmt: skip
"""Words of ATen operations that other nodes have under another."""

TRANSPARENT = frozenset((*COPIES, *SHAPES, *ORDERS, *PARTS))
"""Operations that only move numbers about: their nodes are contracted."""


@dataclass(frozen=True, slots=True)
class _Counted:
    """A traced network with the shape of every tensor and the multiply-adds of every node that gives tensors.

    weights: the parameters that nodes of the graph stand for, with their names in the module. lifted: nodes that stand
    for tensors which are no inputs.
    """

    module: fx.GraphModule
    shapes: Mapping[fx.Node, tuple[int, ...]]
    macs: Mapping[fx.Node, int]
    weights: Mapping[fx.Node, tuple[str, Tensor]]
    lifted: Collection[fx.Node]


def operator_graph(module: nn.Module, example: Tensor | Sequence[Tensor]) -> ArchGraph:
    """The operations between input and output, as words, with FEATURES of each and the names of their modules.

    example: (n, ...), of which the first row is used, or all inputs as they stand; only shapes are computed. Words are
    "conv3x3", "depthwise3x3", "linear", "batch_norm", "relu", "add", "concat", "max_pool" and the like, for layers and
    functions alike. What does not lie on a path from the input to the output is left out, and so are operations that
    change no number (flatten, dropout, identity). A layer that runs twice is two nodes of one name.
    What torch.fx does not trace, torch.export may: ATen operations then, each with the name of the module whose weight
    it reads. NasplatError, with the reason, for a module that neither traces.
    """
    traced = _trace(module, example)
    sources = _live_sources(traced)
    kept = [node for node in traced.module.graph.nodes if node in sources]
    number = {node: i for i, node in enumerate(kept)}
    edges = {(number[source], number[node]) for node in kept for source in sources[node]}
    return ArchGraph(
        tuple(_word(node, traced) for node in kept),
        tuple(sorted(edges)),
        tuple(_name(node, traced) for node in kept),
        tuple(_features(node, sources[node], traced) for node in kept),
        FEATURES,
    )


def _trace(module: nn.Module, example: Tensor | Sequence[Tensor]) -> _Counted:
    examples = [example[:1]] if isinstance(example, Tensor) else list(example)
    with evaluating(module), quiet():
        try:
            return _counted(module, symbolic(module, _is_layer), examples)
        except Exception as error:  # tracing runs the user's forward on proxies, which may raise anything
            try:
                return _counted(module, exported(module, examples), examples)
            except Exception as second:
                raise _untraceable(module, error, second) from error


def _is_layer(module: nn.Module) -> bool:
    return type(module).__module__.startswith(("torch.nn", "torch.ao.nn")) and not isinstance(
        module, nn.Sequential
    )


def _counted(module: nn.Module, traced: Traced, examples: list[Tensor]) -> _Counted:
    stored, graph = dict(module.named_parameters(remove_duplicate=False)), traced.graph
    given = traced.filled(module, examples)
    try:
        run = _run(graph, given, only_shapes())
    except (
        DataDependentOutputException,
        DynamicOutputShapeException,
    ):  # such as the edges of a graph network
        run = _run(graph, given, torch.no_grad())
    weights = {}
    for node in graph.graph.nodes:
        name = str(node.target) if node.op == "get_attr" else traced.held.get(str(node.target), "")
        if name in stored:
            weights[node] = name, stored[name]
    held = {*traced.held, *traced.constants}
    lifted = {node for node in graph.graph.nodes if node.op == "placeholder" and str(node.target) in held}
    return _Counted(graph, run.known, run.macs, weights, lifted)


def _run(graph: fx.GraphModule, given: list[Tensor | None], values: AbstractContextManager[object]) -> _Run:
    with values, counted_macs() as so_far:
        run = _Run(graph, so_far)
        run.run(*given)
    return run


def _untraceable(module: nn.Module, error: Exception, second: Exception) -> NasplatError:
    first, other = (" ".join(str(one).split())[:300] or type(one).__name__ for one in (error, second))
    return NasplatError(
        f"{type(module).__name__} cannot be traced by torch.fx ({first}) nor torch.export ({other}): "
        "decide nothing in `forward` by the values of tensors, or extract a fixed architecture first"
    )


class _Run(ShapeRun):
    """Counts the multiply-adds of every node that gives tensors, and not sizes and the like."""

    def __init__(self, graph: fx.GraphModule, so_far: Callable[[], int]) -> None:
        super().__init__(graph)
        self.so_far, self.macs = so_far, dict[fx.Node, int]()

    def run_node(self, n: fx.Node) -> Any:
        before = self.so_far()
        result = super().run_node(n)
        several = (
            result if isinstance(result, tuple | list) and not isinstance(result, torch.Size) else (result,)
        )
        if any(isinstance(one, Tensor) for one in several):
            self.macs[n] = self.so_far() - before
        return result


def _live_sources(traced: _Counted) -> dict[fx.Node, list[fx.Node]]:
    """The visible nodes on paths from input to output, the two ends always, each with the visible ones that feed it."""
    nodes = list(traced.module.graph.nodes)
    start, end = (
        next(node for node in nodes if node.op == "placeholder" and node not in traced.lifted),
        nodes[-1],
    )
    feeds: dict[fx.Node, list[fx.Node]] = {start: []}
    for node in nodes:
        known = [source for source in node.all_input_nodes if source in feeds]
        if node is end or (known and node in traced.macs):
            seen = (origin for source in known for origin in _seen(source, feeds, traced))
            feeds[node] = list(dict.fromkeys(seen))
    needed = {start, end}
    for node in reversed(feeds):
        if node in needed:
            needed.update(feeds[node])
    return {node: sources for node, sources in feeds.items() if node in needed}


def _seen(node: fx.Node, feeds: Mapping[fx.Node, list[fx.Node]], traced: _Counted) -> list[fx.Node]:
    """The node itself, or what is seen through it."""
    return feeds[node] if _word(node, traced) in TRANSPARENT else [node]


def _word(node: fx.Node, traced: _Counted) -> str:
    """The name of a node's operation."""
    if node.op in ("placeholder", "output"):
        return "input" if node.op == "placeholder" else "output"
    if node.op == "call_module":
        return layer_word(traced.module.get_submodule(str(node.target)))
    joined = JOINED.get(join_kind(node))
    return joined or _aten_word(node, traced) or _plain(str(getattr(node.target, "__name__", node.target)))


def _aten_word(node: fx.Node, traced: _Counted) -> str:
    """The word of an operation of torch.export, that of a layer of its kind; "" for other nodes."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return ""
    word = _plain(plain_word(node))
    weight = (
        traced.weights.get(node.args[1]) if word == "conv" and isinstance(node.args[1], fx.Node) else None
    )
    if weight is None:
        return ATEN.get(word, word)
    groups = node.args[6] if len(node.args) > 6 else 1
    return _conv_word(weight[1].shape[2:], int(str(groups)), weight[1].shape[1] * int(str(groups)))


def layer_word(layer: nn.Module) -> str:
    """The word of a layer: its class without the number of axes, and for convolutions their kind and kernel."""
    name = type(layer).__name__
    if isinstance(layer, _ConvNd):
        back = "transposed_" if layer.transposed else ""
        return back + _conv_word(layer.kernel_size, layer.groups, layer.in_channels)
    if type(layer).__module__ == nn.ReLU.__module__:
        return name.lower()
    return _plain(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())


def _conv_word(kernel: Sequence[int], groups: int, inputs: int) -> str:
    kind = "depthwise" if 1 < groups == inputs else "grouped" if groups > 1 else "conv"
    return kind + "x".join(str(side) for side in kernel)


def _plain(name: str) -> str:
    """Without number of axes and marks of working in place: "max_pool2d" is "max_pool", "relu_" is "relu"."""
    return re.sub(r"\dd$", "", name.strip("_"))


def _features(node: fx.Node, sources: list[fx.Node], traced: _Counted) -> tuple[float, ...]:
    shape = traced.shapes.get(node, traced.shapes.get(sources[0], ()) if sources else ())
    before = traced.shapes.get(sources[0], shape) if sources else shape
    parameters = sum(tensor.numel() for tensor in _parameters(node, traced))
    channels = shape[-1] if len(shape) == 3 else shape[1] if len(shape) > 1 else 1
    shrink = math.prod(before[2:]) / math.prod(shape[2:]) if len(before) == len(shape) > 3 else 1.0
    return (
        math.log1p(parameters),
        math.log1p(traced.macs.get(node, 0)),
        math.log(max(math.prod(shape[1:]), 1)),
        math.log(max(channels, 1)),
        math.log(shrink) / max(len(shape) - 2, 1),
    )


def _parameters(node: fx.Node, traced: _Counted) -> list[Tensor]:
    """Those of a layer, and those that a function is given."""
    if node.op == "call_module":
        return list(traced.module.get_submodule(str(node.target)).parameters())
    return [traced.weights[source][1] for source in node.all_input_nodes if source in traced.weights]


def _name(node: fx.Node, traced: _Counted) -> str:
    """The module that a node calls; for an ATen operation, the one whose weight it reads."""
    if node.op == "call_module":
        return str(node.target)
    if not isinstance(node.target, torch._ops.OpOverload):
        return ""
    read = [traced.weights[source][0] for source in node.all_input_nodes if source in traced.weights]
    return read[0].rpartition(".")[0] if read else ""
