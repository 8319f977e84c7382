"""TransNAS-Bench-101, cells: four nodes and four operations, on vision tasks; architectures of tables, not networks.

The cell-level space of "TransNAS-Bench-101: Improving Transferability and Generalizability of Cross-Task Neural
Architecture Search" (arXiv:2105.11871): the cell of NAS-Bench-201 without pooling, 4^6 = 4,096 architectures. The
tables `transnas_micro/TASK` hold 711 of them, as NAS-Bench-Suite-Zero (arXiv:2210.03230) drew them; a trial of any
other fails and says so (`rows` searches a table alone). They write a cell as six numbers, "(1, 0, 0, 2, 1, 0)", of
the edges 01, 02, 12, 03, 13, 23: only in this order all cells without a path are at chance in all tasks.
"""

from __future__ import annotations

from collections.abc import Mapping

from nasplat.errors import InvalidArchitecture
from nasplat.space import Arch, Notation, Space, SpaceFactory, Value, categorical

from ._nasbench201_cell import (
    CONV1,
    CONV3,
    DEAD,
    EDGES,
    NONE,
    SKIP,
    edge_name,
    graph,
    is_dead,
    live_edges,
    operations,
)

__all__ = ["OPERATIONS", "SPACE", "is_dead"]

OPERATIONS = (NONE, SKIP, CONV1, CONV3)
"""In the order of their numbers."""


def spell(arch: Mapping[str, Value]) -> str:
    """The numbers of the operations, as a tuple in Python."""
    return str(tuple(OPERATIONS.index(operation) for operation in operations(arch).values()))


def read(text: str) -> dict[str, Value]:
    """The operations of a cell from their numbers; InvalidArchitecture for anything else."""
    numbers = text.removeprefix("(").removesuffix(")").split(", ")
    if len(numbers) != len(EDGES) or any(number not in ("0", "1", "2", "3") for number in numbers):
        raise InvalidArchitecture(
            f"{text!r} is no cell of TransNAS-Bench-101: expected six numbers from 0 to 3"
        )
    return {edge_name(edge): OPERATIONS[int(number)] for edge, number in zip(EDGES, numbers, strict=True)}


def function_key(arch: Arch) -> str:
    """The live edges with their operations: cells that differ in dead ones alone are the same function.

    A skip is no identity here: where a cell halves the image, it has weights of its own.
    """
    return " ".join(f"{edge_name(edge)}:{word}" for edge, word in live_edges(arch).items()) or DEAD


def transnas_micro() -> Space:
    """The space; its choices are edge01, edge02, edge12, edge03, edge13 and edge23."""
    choices = [categorical(edge_name(edge), OPERATIONS) for edge in EDGES]
    return Space("transnas_micro", choices, notation=Notation(spell, read, function_key, graph))


SPACE: SpaceFactory = transnas_micro
