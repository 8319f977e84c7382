"""Networks of one form: how to make one, their tensors in stacks, and a row of facts for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from nasplat.channels import ParameterGraph, parameter_graph

Row = dict[str, Any]
TRAINED, DIVERGED = "trained", "diverged"


@dataclass(frozen=True, slots=True, eq=False)
class Skipped:
    """A member that could not be read, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """m networks of one form.

    form: JSON that says how to make one, for the file. make: gives a fresh module. tensors: what a state dict holds,
    each (m, *shape). rows: one mapping of facts for each network. start: the position in the zoo of its first one.
    """

    name: str
    form: Mapping[str, Any]
    make: Callable[[], nn.Module]
    tensors: Mapping[str, Tensor]
    rows: tuple[Row, ...]
    start: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def positions(self) -> range:
        """Where its networks stand in the zoo, and in its table."""
        return range(self.start, self.start + len(self))

    def fresh(self) -> nn.Module:
        """A new module of the form; the caller's random numbers stay as they are."""
        with torch.random.fork_rng([]):
            return self.make()

    def module(self, k: int) -> nn.Module:
        """Network k of the group as an ordinary module of its own, in eval mode, on the CPU."""
        module = self.fresh().to(dtype=next(t.dtype for t in self.tensors.values() if t.is_floating_point()))
        module.load_state_dict({name: tensor[k] for name, tensor in self.tensors.items()})
        return module.eval()

    def graph(self, example: Tensor) -> ParameterGraph:
        """All networks as one graph of their parameters: one trace, tensors with a leading axis m, nothing copied.

        example: an input (n, ...), whose numbers do not matter.
        """
        form = parameter_graph(self.fresh().eval(), example).structure
        return ParameterGraph(form, {name: self.tensors[name] for name in form.shapes})

    def keep(self, which: list[int]) -> Group:
        """Only some of its networks, by their places in the group, in this order."""
        tensors = {name: tensor[which] for name, tensor in self.tensors.items()}
        return replace(self, tensors=tensors, rows=tuple(self.rows[k] for k in which))


def finite(tensors: Mapping[str, Tensor]) -> Tensor:
    """Whether all numbers of each network are finite, (m,), for tensors (m, *shape)."""
    floats = [t.flatten(1) if t.ndim > 1 else t[:, None] for t in tensors.values() if t.is_floating_point()]
    return torch.stack([t.isfinite().all(1) for t in floats]).all(0)


def misfit(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """Why the tensors of a state dict do not fit those of a module; "" when they do."""
    missing, unknown = (sorted(set(a) - set(b)) for a, b in ((expected, found), (found, expected)))
    if missing:
        return f"{len(missing)} tensors are missing, such as {missing[0]!r}"
    if unknown:
        return f"{len(unknown)} tensors are not in the module, such as {unknown[0]!r}"
    for name, tensor in found.items():
        if tensor.shape != expected[name].shape:
            return f"{name!r} has shape {tuple(tensor.shape)}, the module's is {tuple(expected[name].shape)}"
    return ""
