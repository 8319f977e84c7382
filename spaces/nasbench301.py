"""NAS-Bench-301: the two cells of DARTS; architectures of tables, not networks.

The space of "DARTS: Differentiable Architecture Search" (arXiv:1806.09055), of which "NAS-Bench-301 and the Case for
Surrogate Benchmarks" (arXiv:2008.09777) predicts accuracies: a normal and a reduction cell of four nodes, each the
sum of two operations on different earlier nodes or on the outputs of the two cells before. The table `nb301` holds
725 of about 10^18 functions; a trial of any other fails and says so (`rows` searches the table alone). It writes both
cells as lists of (input, operation), two for each node in any order:

    [[(0, 0), (1, 5), (1, 1), (0, 1), ...], [(1, 0), (0, 2), (1, 3), (0, 3), ...]]

An architecture keeps the order, `function_key` does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import permutations

from nasplat.errors import InvalidArchitecture
from nasplat.space import Arch, ArchGraph, Choice, Notation, Space, SpaceFactory, Value, categorical

OPERATIONS = (
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
"""In the order of their numbers."""
CELLS = ("normal", "reduce")
NODES = (1, 2, 3, 4)
PAIR = re.compile(r"\((\d), (\d)\)")

Operation = tuple[int, int]
"""The number of the input, 0 and 1 being the two cells before, and that of the operation."""


def operations(arch: Mapping[str, Value], cell: str) -> list[Operation]:
    """The eight operations of a cell, two for each node."""
    found = []
    for node in NODES:
        for place, source in enumerate(str(arch[f"{cell}{node}_inputs"]).split("-"), start=1):
            found.append((int(source), OPERATIONS.index(str(arch[f"{cell}{node}_op{place}"]))))
    return found


def spell(arch: Mapping[str, Value]) -> str:
    """Both cells as a list in Python."""
    return str([operations(arch, cell) for cell in CELLS])


def read(text: str) -> dict[str, Value]:
    """The choices of two cells from their list; InvalidArchitecture for anything else."""
    pairs = [(int(source), int(number)) for source, number in PAIR.findall(text)]
    cells = [pairs[:8], pairs[8:]]
    if len(pairs) != 16 or str(cells) != text or any(number >= len(OPERATIONS) for _, number in pairs):
        raise InvalidArchitecture(
            f"{text!r} is no pair of DARTS cells: expected [[(input, operation), ...], [...]], eight in each"
        )
    values: dict[str, Value] = {}
    for cell, listed in zip(CELLS, cells, strict=True):
        for node in NODES:
            two = listed[2 * node - 2 : 2 * node]
            values[f"{cell}{node}_inputs"] = "-".join(str(source) for source, _ in two)
            values |= {f"{cell}{node}_op{place}": OPERATIONS[n] for place, (_, n) in enumerate(two, start=1)}
    return values


def function_key(arch: Arch) -> str:
    """Both cells with the two operations of each node in order; nodes keep their places."""
    cells = (operations(arch, cell) for cell in CELLS)
    return str([[tuple(sorted(two)) for two in zip(cell[::2], cell[1::2], strict=True)] for cell in cells])


def graph(arch: Arch) -> ArchGraph:
    """The operations of both cells as nodes, one cell after the other.

    A cell has two nodes "input", the second of which follows the first, as the last cell follows the one before it. All
    eight operations feed "concat" (a cell's output in DARTS is that of all four nodes), which feeds both inputs of the
    reduction cell; there it is "output".
    """
    words: list[str] = []
    edges: list[tuple[int, int]] = []
    for cell, end in zip(CELLS, ("concat", "output"), strict=True):
        start, listed = len(words), operations(arch, cell)
        edges += [(start - 1, start), (start - 1, start + 1)] if start else []
        edges += [(start, start + 1), *((start + a, start + b) for a, b in _edges(listed))]
        words += ["input", "input", *(OPERATIONS[number] for _, number in listed), end]
    return ArchGraph(tuple(words), tuple(edges))


def _edges(listed: list[Operation]) -> Iterator[tuple[int, int]]:
    """Edges within a cell whose inputs are nodes 0 and 1 and whose operations are nodes 2 to 9."""
    for place, (source, _) in enumerate(listed):
        before = [source] if source < 2 else [2 * source - 2, 2 * source - 1]
        yield from ((other, place + 2) for other in before)
    yield from ((place + 2, 10) for place in range(len(listed)))


def _node(cell: str, node: int) -> list[Choice]:
    pairs = [f"{a}-{b}" for a, b in permutations(range(node + 1), 2)]
    names = (f"{cell}{node}_op1", f"{cell}{node}_op2")
    return [categorical(f"{cell}{node}_inputs", pairs), *(categorical(name, OPERATIONS) for name in names)]


def nasbench301() -> Space:
    """The space; the choices of a node are its two inputs, such as normal2_inputs, and normal2_op1 and normal2_op2."""
    choices = [choice for cell in CELLS for node in NODES for choice in _node(cell, node)]
    return Space("nasbench301", choices, notation=Notation(spell, read, function_key, graph))


SPACE: SpaceFactory = nasbench301
