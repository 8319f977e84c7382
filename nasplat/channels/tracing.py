"""From a module to its channels and to the graph of its parameters."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, fx, nn

from nasplat.channels.graph import ParameterGraph
from nasplat.channels.refusals import check_runs, checked, quiet, untraceable
from nasplat.channels.rules import FUNCTIONS, KEEP_PLACES, MODULES
from nasplat.channels.run import UNKNOWN, Run
from nasplat.channels.settling import Stored, settle
from nasplat.channels.spec import ChannelSpec
from nasplat.channels.writing import check_finite, named_tensors
from nasplat.measure.size import evaluating

Example = Tensor | Sequence[Tensor]
"""The input of a module, or its inputs: batches, of which shapes matter and values do not."""


def parameter_graph(module: nn.Module, example: Example) -> ParameterGraph:
    """A module's parameters as a graph, see `ParameterGraph`: its tensors themselves, not copies.

    NasplatError as `channel_spec`, and for weights that are not finite.
    """
    structure = channel_spec(module, example).structure
    tensors = named_tensors(module)
    check_finite(structure.rest, tensors)
    return ParameterGraph(structure, tensors)


def channel_spec(module: nn.Module, example: Example) -> ChannelSpec:
    """The channels of a module as it runs in evaluation mode, traced by torch.fx, or by torch.export where that fails.

    Operations that are not understood freeze the channels that go into them and are listed with the reason: nothing
    is guessed. The module is left as it was. NasplatError for a module that neither traces, with the line, and for
    an example that does not fit.
    """
    examples = checked(module, example)
    with evaluating(module), quiet():
        try:
            spec = _followed(module, _symbolic(module), examples)
        except Exception as error:  # tracing runs the user's forward on proxies, which may raise anything
            check_runs(module, examples)
            try:
                return _exported(module, examples)
            except Exception as second:
                raise untraceable(module, error, second) from error
        if any(UNKNOWN in why.reason for why in spec.frozen):
            try:
                return min(spec, _exported(module, examples), key=_frozen)
            except Exception:  # what torch.fx found stands
                return spec
    return spec


def _frozen(spec: ChannelSpec) -> int:
    return sum(space.size for space in spec.spaces if space.kind == "frozen")


class Tracer(fx.Tracer):
    """Steps into every module but those of `torch.nn` that have a rule."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """By exact class: a subclass may compute something else."""
        return type(m).__module__.startswith("torch.nn.modules.") and type(m).__name__ in MODULES


def _symbolic(module: nn.Module) -> fx.GraphModule:
    tracer = Tracer()
    graph = tracer.trace(module)
    return fx.GraphModule(tracer.root, graph)


def _followed(module: nn.Module, graph: fx.GraphModule, examples: Sequence[Tensor]) -> ChannelSpec:
    run = _run(module, graph)
    run.run(*examples)
    return settle(run.ledger, stored(module, run))


def _run(module: nn.Module, graph: fx.GraphModule) -> Run:
    return Run(graph, FUNCTIONS, MODULES, dict(module.state_dict(keep_vars=True)), frozenset(KEEP_PLACES))


def _exported(module: nn.Module, examples: Sequence[Tensor]) -> ChannelSpec:
    program = torch.export.export(module, tuple(examples), strict=False)
    signature = program.graph_signature
    run = _run(module, program.graph_module)
    run.held = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    run.constants = {
        place: program.constants[name] for place, name in signature.inputs_to_lifted_tensor_constants.items()
    }
    users = iter(examples)
    lifted = run.held.keys() | run.constants.keys()
    places = [node for node in program.graph.nodes if node.op == "placeholder"]
    run.run(*(None if str(node.target) in lifted else next(users) for node in places))
    return settle(run.ledger, stored(module, run))


def stored(module: nn.Module, run: Run) -> Stored:
    """The tensors of its `state_dict`, and which of its parameters a run did not read."""
    first: dict[int, str] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    aliases: dict[str, str] = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        known = first.setdefault(id(tensor), name)
        if known == name:
            shapes[name] = tuple(tensor.shape)
        else:
            aliases[name] = known
    read = run.read | run.ledger.edges.keys() | run.ledger.columns.keys()
    unread = (name for name, _ in module.named_parameters() if name not in read)
    return Stored(shapes, aliases, tuple(unread))
