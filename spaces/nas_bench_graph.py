"""NAS-Bench-Graph: cells of graph neural networks, four operations in a tree; architectures of tables, not networks.

The space of "NAS-Bench-Graph: Benchmarking Graph Neural Architecture Search" (arXiv:2206.09166), of the kind that
Auto-GNN (arXiv:1909.03184) searches: each of four nodes takes its input from one earlier node or from the raw
features, node 0, and nodes that feed no other feed the output. `link` names the inputs of all nodes, in the nine
forms that differ, and op1 to op4 their operations: 59,049 architectures.

Many of them are one network: nodes may trade places, and a skip may move along its path, since it changes nothing.
The tables `nas_bench_graph/cora`, `/arxiv` and `/proteins` hold one for each network, 26,206 in all, under the key

    0-0-0-1 gat-gcn-sage-fc

`spell` gives the key that stands for an architecture, so that every architecture finds its row, but for nine made of
skips alone. `function_key` is the same text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import permutations

from nasplat.errors import InvalidArchitecture, NasplatError, expected_one_of
from nasplat.space import Arch, ArchGraph, Notation, Space, SpaceFactory, Value, categorical

SKIP = "skip"
OPERATIONS = ("gat", "gcn", "gin", "cheb", "sage", "arma", "graph", "fc", SKIP)
LINKS = ("0-0-0-0", "0-0-0-1", "0-0-1-1", "0-0-1-2", "0-0-1-3", "0-1-1-1", "0-1-1-2", "0-1-2-2", "0-1-2-3")
NODES = (1, 2, 3, 4)

Fathers = list[int]
"""The input of each node, 0 for the raw features; nodes count from 1."""


def spell(arch: Mapping[str, Value]) -> str:
    """The key of the row that stands for an architecture."""
    fathers, words = canonical([int(n) for n in str(arch["link"]).split("-")], _words(arch))
    return f"{'-'.join(map(str, fathers))} {'-'.join(words)}"


def read(text: str) -> dict[str, Value]:
    """The choices of a key; InvalidArchitecture for anything else."""
    link, _, listed = text.partition(" ")
    words = listed.split("-")
    if link not in LINKS or len(words) != len(NODES) or not set(words) <= set(OPERATIONS):
        raise InvalidArchitecture(
            f"{text!r} is no cell of NAS-Bench-Graph: expected a link such as {LINKS[1]}, a space, and four of "
            f"{', '.join(OPERATIONS)} joined by '-'"
        )
    return {"link": link, **{f"op{node}": word for node, word in zip(NODES, words, strict=True)}}


def canonical(fathers: Fathers, words: list[str]) -> tuple[Fathers, list[str]]:
    """The one of equal architectures that the tables hold: free skips first, then the first order of the rest."""
    fathers, words = skips_first(fathers, words)
    alike = [(link, [words[node - 1] for node in order]) for link, order in _orders(tuple(fathers))]
    link, first = min(alike, key=lambda one: [OPERATIONS.index(word) for word in one[1]])
    return list(link), first


def skips_first(fathers: Fathers, words: list[str]) -> tuple[Fathers, list[str]]:
    """The same network with all skips that may move at its beginning, one after the other.

    A skip may move if it feeds another node, or is the only one that its input feeds. One that is the last of several
    on its input stays: it brings that input to the output. Unless that is the raw features, which the benchmark does
    not bring there.
    """
    for number in range(len(words)):
        node = number + 1
        if words[number] != SKIP:
            continue
        feeds = node in fathers
        alone = fathers.count(fathers[number]) == 1
        if feeds or alone or _raw(node, fathers, words):
            inner = [fathers[number] if father == node else father for father in fathers]
            del inner[number]
            moved = [father + 1 if father < node else father for father in inner]
            fathers, words = [0, *moved], [SKIP, *words[:number], *words[node:]]
    return fathers, words


def _raw(node: int, fathers: Fathers, words: list[str]) -> bool:
    """Whether a node gives the raw features: only skips lead to it."""
    while node:
        if words[node - 1] != SKIP:
            return False
        node = fathers[node - 1]
    return True


@cache
def _orders(fathers: tuple[int, ...]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The orders of the nodes in which the tree has one of the nine forms, each after that form."""
    found = []
    for order in permutations(NODES):
        number = {0: 0} | {node: i for i, node in enumerate(order, start=1)}
        renamed = tuple(number[fathers[node - 1]] for node in order)
        if "-".join(map(str, renamed)) in LINKS:
            found.append((renamed, order))
    return found


def graph(arch: Arch) -> ArchGraph:
    """Input, four operations and output; operations that feed no other feed the output."""
    fathers = [int(n) for n in str(arch["link"]).split("-")]
    edges = [(father, node) for node, father in zip(NODES, fathers, strict=True)]
    edges += [(node, 5) for node in NODES if node not in fathers]
    return ArchGraph(("input", *_words(arch), "output"), tuple(edges))


def _words(arch: Mapping[str, Value]) -> list[str]:
    return [str(arch[f"op{node}"]) for node in NODES]


def nas_bench_graph(*, operations: Sequence[str] = OPERATIONS) -> Space:
    """The space; its choices are link and op1 to op4.

    operations: those to choose from; the table of proteins has gcn, sage, arma, fc and skip only.
    """
    for word in operations:
        if word not in OPERATIONS:
            raise NasplatError(
                f"nas_bench_graph operations has {word!r}: {expected_one_of(word, OPERATIONS)}"
            )
    choices = [categorical("link", LINKS), *(categorical(f"op{node}", operations) for node in NODES)]
    return Space("nas_bench_graph", choices, notation=Notation(spell, read, spell, graph))


SPACE: SpaceFactory = nas_bench_graph
