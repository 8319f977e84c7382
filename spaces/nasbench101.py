"""NAS-Bench-101: cells of up to five operations and nine edges; architectures of tables, not networks.

The space of "NAS-Bench-101: Towards Reproducible Neural Architecture Search" (arXiv:1902.09635): a directed acyclic
graph of seven vertices, of which the first is the input and the last the output; of 423,624 functions. The table
`nb101` holds 500 cells; a trial of any other fails and says so (`rows` searches the table alone). It writes a cell as
56 numbers: the 7x7 matrix of edges row by row, then the operation of each vertex. That matrix is as it was drawn,
before vertices that lie on no path from input to output are cut off: only what is left must have at most nine edges.

The numbers of the operations, 0 input, 1 output, 2 max pooling, 3 1x1 and 4 3x3 convolution, are those of NASLib,
which wrote the table; the stored parameters agree (cells of 4 have most, of 2 fewest).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations, permutations

from nasplat.errors import InvalidArchitecture
from nasplat.space import Arch, ArchGraph, Notation, Space, SpaceFactory, Value, categorical, ordinal

from ._paths import Edge, on_paths

VERTICES = 7
OUTPUT = VERTICES - 1
OPERATIONS = ("maxpool3x3", "conv1x1-bn-relu", "conv3x3-bn-relu")
"""In the order of their numbers, which begin at FIRST."""
FIRST = 2
EDGES = tuple(combinations(range(VERTICES), 2))  # those into a vertex before those out of it
INNER = range(1, OUTPUT)


def edges(arch: Mapping[str, Value]) -> list[Edge]:
    """The edges (source, target) of a cell, also those on no path."""
    return [(source, target) for source, target in EDGES if arch[f"edge{source}{target}"]]


def live_edges(arch: Mapping[str, Value]) -> list[Edge]:
    """The edges on paths from input to output; a cell of the benchmark has one to nine of them."""
    return on_paths(edges(arch), OUTPUT)


def spell(arch: Mapping[str, Value]) -> str:
    """Matrix and operations as a tuple in Python."""
    present = set(edges(arch))
    matrix = [int((row, column) in present) for row in range(VERTICES) for column in range(VERTICES)]
    words = [OPERATIONS.index(str(arch[f"op{vertex}"])) + FIRST for vertex in INNER]
    return str((*matrix, 0, *words, 1))


def read(text: str) -> dict[str, Value]:
    """The choices of a cell from its tuple; InvalidArchitecture for anything else."""
    numbers = text.removeprefix("(").removesuffix(")").split(", ")
    matrix, words = numbers[: VERTICES**2], numbers[VERTICES**2 :]
    legal = ["0", *["234"] * len(INNER), "1"]
    fits = len(words) == VERTICES and all(len(w) == 1 and w in of for w, of in zip(words, legal, strict=True))
    values: dict[str, Value] = {}
    if fits:
        values |= {f"edge{a}{b}": matrix[VERTICES * a + b] == "1" for a, b in EDGES}
        values |= {f"op{vertex}": OPERATIONS[int(words[vertex]) - FIRST] for vertex in INNER}
    if not fits or spell(values) != text:
        raise InvalidArchitecture(
            f"{text!r} is no cell of NAS-Bench-101: expected a tuple of an upper triangular 7x7 matrix of 0 and 1, "
            "then 0, five numbers from 2 to 4, and 1"
        )
    return values


def function_key(arch: Arch) -> str:
    """The part on paths, up to the order of its vertices: the first spelling among all orders."""
    live = live_edges(arch)
    inner = sorted({vertex for edge in live for vertex in edge} - {0, OUTPUT})
    return min(_spelled(arch, live, order) for order in permutations(inner))


def _spelled(arch: Arch, live: list[Edge], order: tuple[int, ...]) -> str:
    number = {0: 0, OUTPUT: len(order) + 1} | {vertex: i for i, vertex in enumerate(order, start=1)}
    words = ",".join(str(arch[f"op{vertex}"]) for vertex in order)
    return f"{words} {sorted((number[a], number[b]) for a, b in live)}"


def graph(arch: Arch) -> ArchGraph:
    """The vertices and edges on paths; a cell without a path has the two ends and no edge."""
    live = live_edges(arch)
    vertices = sorted({0, OUTPUT, *(vertex for edge in live for vertex in edge)})
    number = {vertex: i for i, vertex in enumerate(vertices)}
    words = ("input", *(str(arch[f"op{vertex}"]) for vertex in vertices[1:-1]), "output")
    return ArchGraph(words, tuple((number[a], number[b]) for a, b in live))


def nasbench101() -> Space:
    """The space; its choices are edge01 to edge56, which are there or not, and op1 to op5.

    Not every architecture is a cell of the benchmark: see `live_edges`.
    """
    choices = [
        *(ordinal(f"edge{a}{b}", (False, True)) for a, b in EDGES),
        *(categorical(f"op{vertex}", OPERATIONS) for vertex in INNER),
    ]
    return Space("nasbench101", choices, notation=Notation(spell, read, function_key, graph))


SPACE: SpaceFactory = nasbench101
