"""The cell of NAS-Bench-201 (arXiv:2001.00326): which of its edges live, what it computes, its graph.

Four nodes, from 0, the input, to 3, the output, with an operation on each of the six edges (source, target) between
them. A node is the sum of what its edges bring.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import permutations, product
from typing import TypeAlias

from nasplat.space import ArchGraph, Value

from ._paths import Edge, on_paths

NONE, SKIP, CONV1, CONV3, POOL = "none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"
OPERATIONS = (NONE, SKIP, CONV1, CONV3, POOL)
EDGES: tuple[Edge, ...] = (
    (0, 1),
    (0, 2),
    (1, 2),
    (0, 3),
    (1, 3),
    (2, 3),
)  # those into a node before those out of it
OUTPUT = 3
DEAD = "dead"
"""The function key of all cells without a path."""

ZERO = "#"
INPUT = "x"
Term: TypeAlias = tuple[
    str | Edge, int
]  # the cell's input or the convolution of an edge, and how often it is pooled
Sum: TypeAlias = Counter[Term]
Names: TypeAlias = dict[str | Edge, str]


def edge_name(edge: Edge) -> str:
    """The name of an edge as a choice and as a module: "edge01"."""
    return f"edge{edge[0]}{edge[1]}"


def operations(arch: Mapping[str, Value]) -> dict[Edge, str]:
    """The operation on every edge, in the order of EDGES."""
    return {edge: str(arch[edge_name(edge)]) for edge in EDGES}


def live_edges(arch: Mapping[str, Value]) -> dict[Edge, str]:
    """The operations on paths from input to output, all edges of which are other than "none"."""
    present = {edge: operation for edge, operation in operations(arch).items() if operation != NONE}
    return {edge: present[edge] for edge in on_paths(list(present), OUTPUT)}


def is_dead(arch: Mapping[str, Value]) -> bool:
    """Whether no path leads from input to output: 341 of the 15,625 architectures, all of them at chance."""
    return not live_edges(arch)


def graph(arch: Mapping[str, Value]) -> ArchGraph:
    """Live operations as nodes between "input" and "output"; one feeds all those that start where it ends.

    The form of BRP-NAS (arXiv:2007.08668), but that "skip_connect" stays a node. A dead cell has no edge.
    """
    live = live_edges(arch)
    places = [(-1, 0), *live, (OUTPUT, OUTPUT + 1)]
    feeds = [
        (i, j)
        for j, (source, _) in enumerate(places)
        for i, (_, target) in enumerate(places[:j])
        if target == source
    ]
    return ArchGraph(("input", *live.values(), "output"), tuple(feeds))


def unique_string(arch: Mapping[str, Value]) -> str:
    """The isomorphism string of the benchmark's authors: nested sums with sorted terms, skips and zeros resolved.

    There are 6,466. It is no key: a shared convolution is written out wherever it is used, so that twice one and the
    sum of two are alike, and 578 of the strings stand for networks of different parameter counts. It also keeps apart
    what is equal, since a sum of zeros is not seen as zero.
    """
    texts = ["0"]
    for node in range(1, OUTPUT + 1):
        edges = ((source, o) for (source, target), o in operations(arch).items() if target == node)
        texts.append("+".join(sorted(_nested(texts[source], operation) for source, operation in edges)))
    return texts[OUTPUT]


def _nested(text: str, operation: str) -> str:
    if operation == NONE or text == ZERO:
        return ZERO
    return text if operation == SKIP else f"({text})@{operation}"


def function_key(arch: Mapping[str, Value]) -> str:
    """Equal exactly for cells that are the same function of their input and of the same number of free weights.

    That is: some pairing of the live convolutions of one cell with those of the other makes both compute the same,
    whatever the input and the weights. The key spells the live part as a sum, in which what is equal in real numbers
    is alike: a skip is its input, the order of a sum does not matter, and pool(a + b) = pool(a) + pool(b). All else
    stays apart. Each convolution is an instance with one name wherever its output is used, and a sum counts, x + x
    being 2*x. Of all namings of the instances the key takes the text that is first in the alphabet, such as

        1x1a(x);3x3a(1x1a+x)->3x3a+2*pool(x)

    There are 5,044 keys. Two things lie outside. Other weights can make up for some factors, as those of the norm in
    2*3x3a. And a convolution that no path from the input reaches is dead here, but gives the bias of its norm: zero
    in a fresh network, a constant after training.
    """
    live = live_edges(arch)
    if not live:
        return DEAD
    inputs, output = _sums(live)
    return min(_spelled(inputs, output, names) for names in _namings(live))


def _sums(live: Mapping[Edge, str]) -> tuple[dict[Edge, Sum], Sum]:
    """What goes into each convolution, and what comes out of the cell."""
    nodes: list[Sum] = [Counter({(INPUT, 0): 1}), Counter(), Counter(), Counter()]
    inputs: dict[Edge, Sum] = {}
    for edge, operation in live.items():
        brought = nodes[edge[0]]
        if operation == POOL:
            brought = Counter({(base, times + 1): n for (base, times), n in brought.items()})
        elif operation != SKIP:
            inputs[edge] = brought
            brought = Counter({(edge, 0): 1})
        nodes[edge[1]].update(brought)
    return inputs, nodes[OUTPUT]


def _namings(live: Mapping[Edge, str]) -> Iterator[Names]:
    """All ways to name the convolutions of a kind a, b, ...: 720 at most, 4 on average."""
    kinds = [[edge for edge, operation in live.items() if operation == kind] for kind in (CONV1, CONV3)]
    for ones, threes in product(*map(permutations, kinds)):
        names: Names = {INPUT: INPUT}
        names |= {edge: f"1x1{letter}" for edge, letter in zip(ones, "abcdef", strict=False)}
        names |= {edge: f"3x3{letter}" for edge, letter in zip(threes, "abcdef", strict=False)}
        yield names


def _spelled(inputs: Mapping[Edge, Sum], output: Sum, names: Names) -> str:
    def spell(terms: Sum) -> str:
        return "+".join(sorted(_term(names[base], times, n) for (base, times), n in terms.items()))

    convolutions = sorted(f"{names[edge]}({spell(terms)})" for edge, terms in inputs.items())
    return f"{';'.join(convolutions)}->{spell(output)}"


def _term(name: str, times: int, n: int) -> str:
    return f"{n}*" * (n > 1) + "pool(" * times + name + ")" * times
