"""A copy of a module beside its torch.fx graph: what every rewriting of this room starts from."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx, nn

from nasplat.channels.refusals import check_runs, checked, quiet
from nasplat.errors import NasplatError
from nasplat.measure.symbolic import symbolic

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
"""Layers by exact class: a subclass, which parametrisation makes also, may compute something else."""

Layer = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear
Norm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d


@dataclass(frozen=True, slots=True, eq=False)
class Rewritten:
    """A new module in evaluation mode, what was changed in it, and what stayed as it was, with the reason.

    changed: names of modules, in order of running. left: reason by name of a module or graph node.
    """

    module: nn.Module
    changed: tuple[str, ...]
    left: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A copy of a module in evaluation mode and its graph, which shares the layers of the copy.

    shapes: of what every node gives, the batch in front. calls: the nodes that run a layer, by its name.
    """

    module: nn.Module
    graph: fx.GraphModule
    shapes: Mapping[fx.Node, tuple[int, ...]]
    calls: Mapping[str, tuple[fx.Node, ...]]

    @property
    def nodes(self) -> list[fx.Node]:
        """The nodes in order of running."""
        return list(self.graph.graph.nodes)

    def layer(self, node: object) -> nn.Module | None:
        """The layer that a node runs as a whole, or None."""
        if isinstance(node, fx.Node) and node.op == "call_module":
            return self.graph.get_submodule(str(node.target))
        return None

    def entangled(self, name: str) -> str:
        """Why a layer cannot be changed for one place alone, or ""."""
        layer = self.graph.get_submodule(name)
        if len(self.calls.get(name, ())) > 1:
            return f"{name} runs at {len(self.calls[name])} places"
        if layer._forward_hooks or layer._forward_pre_hooks:
            return f"{name} has hooks"
        read = {str(node.target) for node in self.nodes if node.op == "get_attr"}
        for word, tensor in layer.named_parameters():
            if f"{name}.{word}" in read:
                return f"{name}.{word} is also read on its own"
            others = [
                other for other, same in self._parameters() if same is tensor and other != f"{name}.{word}"
            ]
            if others:
                return f"{name}.{word} is also {others[0]}"
        return ""

    def _parameters(self) -> list[tuple[str, nn.Parameter]]:
        return list(self.module.named_parameters(remove_duplicate=False))


def traced(module: nn.Module, example: Tensor | Sequence[Tensor]) -> View:
    """A copy of a module with its graph, shapes from an example (n, ...).

    NasplatError for what is no module or does not take the example, and for a module that torch.fx cannot trace.
    """
    examples = checked(module, example)
    own = copy.deepcopy(module).eval()
    check_runs(own, examples)
    with quiet():
        try:
            graph = symbolic(own, _is_leaf).graph
            run = _Shapes(graph)
            with torch.no_grad():
                run.run(*examples)
        except Exception as error:  # tracing runs the user's forward on proxies, which may raise anything
            raise NasplatError(
                f"{type(module).__name__} cannot be traced by torch.fx ({_first_line(error)}); "
                "write its forward without decisions by values, or give the part that traces"
            ) from error
    calls: dict[str, tuple[fx.Node, ...]] = {}
    for node in graph.graph.nodes:
        if node.op == "call_module":
            calls[str(node.target)] = (*calls.get(str(node.target), ()), node)
    return View(own, graph, run.shapes, calls)


def checked_batches(module: nn.Module, batches: Iterable[Tensor]) -> list[Tensor]:
    """Batches of inputs as a list; NasplatError for none, for what is no tensor, and for a first that does not fit."""
    if isinstance(batches, Tensor):
        raise NasplatError("batches is one tensor; give a list of batches of inputs, such as [batch]")
    given = list(batches)
    if not given:
        raise NasplatError("batches is empty; give at least one batch of inputs")
    for batch in given:
        if not isinstance(batch, Tensor):
            raise NasplatError(
                f"batches gives {type(batch).__name__}; give inputs alone, such as [x for x, _ in loader]"
            )
    check_runs(module, given[:1])
    return given


def named_calls(view: View, kinds: tuple[type[nn.Module], ...]) -> list[tuple[str, nn.Module, fx.Node]]:
    """Name, layer and node of every layer of exactly these classes that runs once, in order of running."""
    found = []
    for node in view.nodes:
        layer = view.layer(node)
        if layer is not None and type(layer) in kinds and len(view.calls[str(node.target)]) == 1:
            found.append((str(node.target), layer, node))
    return found


def input_of(node: fx.Node) -> fx.Node:
    """The node whose result a layer reads."""
    return node.all_input_nodes[0]


class _Shapes(fx.Interpreter):
    """Runs a graph and keeps the shapes of its tensors only."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.shapes: dict[fx.Node, tuple[int, ...]] = {}

    def run_node(self, n: fx.Node) -> object:
        result = super().run_node(n)
        if isinstance(result, Tensor):
            self.shapes[n] = tuple(result.shape)
        return result


def _is_leaf(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.nn.modules.") and not isinstance(module, nn.Sequential)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return " ".join(lines[0].split()).removesuffix(".")[:200]
