"""A network as a traced graph of operations: by torch.fx, or by torch.export where that fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx, nn

Leaf = Callable[[nn.Module], bool]


@dataclass(frozen=True, slots=True, eq=False)
class Traced:
    """A graph that can be run, and what its placeholders are that no example is given for.

    held: names in the module of parameters and buffers; constants: tensors; both by placeholder. Where torch.fx
    traced, there are none: the graph reads both from the module.
    """

    graph: fx.GraphModule
    held: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, Tensor] = field(default_factory=dict)

    def inputs(self, examples: Sequence[Tensor]) -> list[Tensor | None]:
        """The arguments of a run: an example for each placeholder, None for those that stand for something else."""
        users = iter(examples)
        places = (str(node.target) for node in self.graph.graph.nodes if node.op == "placeholder")
        return [None if p in self.held or p in self.constants else next(users, None) for p in places]

    def filled(self, module: nn.Module, examples: Sequence[Tensor]) -> list[Tensor | None]:
        """The arguments of a run on values: those of the module for what stands for its tensors."""
        own = module.state_dict(keep_vars=True)
        places = (str(node.target) for node in self.graph.graph.nodes if node.op == "placeholder")
        return [
            own[self.held[place]] if place in self.held else self.constants.get(place, given)
            for place, given in zip(places, self.inputs(examples), strict=True)
        ]


class _Tracer(fx.Tracer):
    """Reads buffers where they are used, and steps into every module but leaves."""

    proxy_buffer_attributes = True

    def __init__(self, leaf: Leaf) -> None:
        super().__init__()
        self.leaf = leaf

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return self.leaf(m)


def symbolic(module: nn.Module, leaf: Leaf) -> Traced:
    """By torch.fx, whose graphs call leaf modules as a whole. Raises whatever `forward` raises on proxies."""
    tracer = _Tracer(leaf)
    graph = tracer.trace(module)
    return Traced(fx.GraphModule(tracer.root, graph))


def without_writing(traced: Traced) -> Traced:
    """The same; ValueError where it writes into a part of a tensor, whose other readers the graph does not show."""
    if any(_writes_apart(node) for node in traced.graph.graph.nodes):
        raise ValueError("it writes into a part of a tensor")
    return traced


def exported(module: nn.Module, examples: Sequence[Tensor]) -> Traced:
    """By torch.export, as ATen operations on examples of these shapes; writing in place is told as new tensors."""
    program = torch.export.export(module, tuple(examples), strict=False)
    if any(_writes(node) for node in program.graph.nodes):
        program = program.run_decompositions({})
    signature = program.graph_signature
    stored = module.state_dict(keep_vars=True)
    held = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    given = {**dict(module.named_buffers()), **program.constants}
    lifted = {place: given[name] for place, name in signature.inputs_to_lifted_tensor_constants.items()}
    lifted |= {place: given[name] for place, name in held.items() if name not in stored}
    return Traced(program.graph_module, {p: n for p, n in held.items() if n in stored}, lifted)


PARTS = frozenset(("getitem", "select", "narrow", "chunk", "split", "unbind", "slice", "diagonal", "view", "reshape",
                   "flatten", "unflatten", "permute", "transpose", "t", "squeeze", "unsqueeze", "expand", "view_as",
                   "unfold", "detach", "tensor_split", "movedim", "swapaxes"))  # fmt: skip
"""Operations whose result shares memory with what they read."""


def word(node: fx.Node) -> str:
    """The plain name of a function, method or ATen operation, with the "_" of one that works in place."""
    if node.op not in ("call_function", "call_method"):
        return ""
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        target = target.overloadpacket
    return target if isinstance(target, str) else str(getattr(target, "__name__", target))


def plain_word(node: fx.Node) -> str:
    """The same without marks of working in place."""
    return word(node).strip("_")


def _writes(node: fx.Node) -> bool:
    """Whether an operation changes what it reads."""
    name = word(node)
    marked = name.endswith("_") and not name.endswith("__") and name not in ("requires_grad_", "and_", "or_")
    return marked or name == "setitem" or bool(node.kwargs.get("inplace"))


def _writes_apart(node: fx.Node) -> bool:
    """Whether it does so to what others read too, or to a part of it."""
    if not _writes(node) or not node.args or not isinstance(node.args[0], fx.Node):
        return False
    into = node.args[0]
    while word(into) in PARTS and isinstance(into.args[0], fx.Node):
        if len(into.users) > 1:
            return True
        into = into.args[0]
    return len(into.users) > 1 and (into is not node.args[0] or not _by_element(node))


def _by_element(node: fx.Node) -> bool:
    """Whether it is a function of single numbers, which changes no channel's place."""
    return bool(node.kwargs.get("inplace")) or (len(node.all_input_nodes) == 1 and word(node) not in (
        "zero_", "fill_", "copy_", "setitem",
    ))  # fmt: skip
