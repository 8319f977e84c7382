"""From a module to its channels and to the graph of its parameters."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from nasplat.channels.graph import ParameterGraph
from nasplat.channels.refusals import check_runs, checked, quiet, untraceable
from nasplat.channels.rules import FUNCTIONS, KEEP_PLACES, MODULES
from nasplat.channels.run import UNKNOWN, Run
from nasplat.channels.settling import Stored, settle
from nasplat.channels.spec import ChannelSpec
from nasplat.channels.writing import check_finite, named_tensors
from nasplat.measure.size import evaluating
from nasplat.measure.symbolic import Traced, exported, symbolic, without_writing

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
            spec = _followed(module, without_writing(symbolic(module, _is_leaf)), examples)
        except Exception as error:  # tracing runs the user's forward on proxies, which may raise anything
            check_runs(module, examples)
            try:
                return _followed(module, exported(module, examples), examples)
            except Exception as second:
                raise untraceable(module, error, second) from error
        if any(UNKNOWN in why.reason for why in spec.frozen):
            try:
                other = _followed(module, exported(module, examples), examples)
                return min(spec, other, key=_frozen)
            except Exception:  # what torch.fx found stands
                return spec
    return spec


def _frozen(spec: ChannelSpec) -> int:
    return sum(space.size for space in spec.spaces if space.kind == "frozen")


def _is_leaf(module: nn.Module) -> bool:
    """Modules of `torch.nn` that have a rule, by exact class: a subclass may compute something else."""
    return type(module).__module__.startswith("torch.nn.modules.") and type(module).__name__ in MODULES


def _followed(module: nn.Module, traced: Traced, examples: Sequence[Tensor]) -> ChannelSpec:
    run = Run(traced, FUNCTIONS, MODULES, dict(module.state_dict(keep_vars=True)), frozenset(KEEP_PLACES))
    run.run(*traced.inputs(examples))
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
