"""Networks of one form as one graph, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch

from nasplat.channels.graph import ParameterGraph
from nasplat.errors import NasplatError


def stack_graphs(graphs: Sequence[ParameterGraph]) -> ParameterGraph:
    """m graphs of one form as one graph whose tensors have a leading axis m. Tensors are copied; gradients flow.

    NasplatError: no graph, or two of different form.
    """
    if not graphs:
        raise NasplatError("no graph to stack: give at least one")
    first = graphs[0]
    for number, graph in enumerate(graphs):
        if graph.batch != first.batch or not same_form(first.structure, graph.structure):
            raise NasplatError(
                f"graph {number} ({graph!r}) has another form than graph 0 ({first!r}): stack equal forms only"
            )
    names = first.structure.shapes
    return ParameterGraph(
        first.structure, {name: torch.stack([g.tensors[name] for g in graphs]) for name in names}
    )


def unstack_graphs(graph: ParameterGraph) -> list[ParameterGraph]:
    """The networks along the first axis of a batch, each a view; NasplatError: there is no batch."""
    if not graph.batch:
        raise NasplatError(f"{graph!r} is one network, not a batch: nothing to unstack")
    names = graph.structure.shapes
    rows = zip(*(graph.tensors[name].unbind() for name in names), strict=True)
    return [ParameterGraph(graph.structure, dict(zip(names, row, strict=True))) for row in rows]


def same_form(first: Any, second: Any) -> bool:
    """Whether two structures, or parts of structures, say the same."""
    if first is second:
        return True
    if type(first) is not type(second):
        return False
    if isinstance(first, np.ndarray):
        return np.array_equal(first, second)
    if isinstance(first, tuple):
        return len(first) == len(second) and all(map(same_form, first, second))
    if is_dataclass(first):
        return all(same_form(getattr(first, f.name), getattr(second, f.name)) for f in fields(first))
    return bool(first == second)
