"""Networks of one form side by side, so that a metanetwork reads them at once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from nasplat.channels.graph import ParameterGraph
from nasplat.channels.stacking import stack_graphs
from nasplat.channels.structure import Block, GraphStructure, Join, Vector
from nasplat.errors import NasplatError


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Those of many networks that have one form: rows (m,) are their places among the many, graph holds them all."""

    rows: NDArray[np.int64]
    graph: ParameterGraph

    def __len__(self) -> int:
        return len(self.rows)


def grouped(graphs: Sequence[ParameterGraph]) -> list[Group]:
    """n networks, each without a batch of its own, as groups of equal form, in the order of their first members.

    Forms are equal where names, shapes and edges are, whether or not the networks share a structure.
    """
    forms: dict[str, list[int]] = {}
    prints: dict[int, str] = {}  # of structures that are the same object
    for row, graph in enumerate(graphs):
        if graph.batch:
            raise NasplatError(
                f"network {row} is a batch of shape {graph.batch}: give each of its networks alone"
            )
        place = id(graph.structure)
        if place not in prints:
            prints[place] = fingerprint(graph.structure)
        forms.setdefault(prints[place], []).append(row)
    return [Group(np.array(rows), stack_graphs([graphs[row] for row in rows])) for rows in forms.values()]


def taken(graph: ParameterGraph, rows: torch.Tensor) -> ParameterGraph:
    """Some networks (rows) of a batch (m,) of them, in that order."""
    return ParameterGraph(graph.structure, {name: tensor[rows] for name, tensor in graph.tensors.items()})


def fingerprint(structure: GraphStructure) -> str:
    """A hash of all that a structure says: equal for equal forms."""
    text = hashlib.sha256(
        repr((structure.neurons, structure.rest, sorted(structure.shapes.items()))).encode()
    )
    parts: list[Block | Vector | Join] = [*structure.blocks, *structure.vectors, *structure.joins]
    for part in parts:
        for value in astuple(part):
            array = isinstance(value, np.ndarray)
            text.update(repr(value.shape if array else value).encode() + (value.tobytes() if array else b""))
    text.update(structure.positions.tobytes())
    return text.hexdigest()
