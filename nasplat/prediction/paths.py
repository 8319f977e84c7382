"""Architectures as counts of the operation words that lead from input to output."""

from __future__ import annotations

from collections import Counter
from typing import TypeAlias

from nasplat.space import ArchGraph

Word: TypeAlias = tuple[str, ...]
"""The operations along one path, in order, without "input" and "output"."""


def path_counts(
    graph: ArchGraph, longest: int | None = None, *, transparent: tuple[str, ...] = ("skip_connect",)
) -> dict[Word, int]:
    """How many paths from an "input" to an "output" spell each word.

    The path encoding of BANANAS (arXiv:1910.11858) with counts in place of presence, so that two equal
    branches differ from one. `transparent` operations pass their input on and are no letters: a path of skips only
    spells (). Words of more than `longest` letters are left out, which bounds the work on deep graphs. Nodes that lie
    on no such path do not matter; without any path, or without such nodes, the counts are empty.
    Cost: edges times the number of different words, by dynamic programming over the topological order.
    """
    live = _reaching_output(graph)
    sources: dict[int, list[int]] = {}
    for source, target in graph.edges:
        if target in live:
            sources.setdefault(target, []).append(source)
    arriving: list[Counter[Word]] = []  # at each node: the words of the paths that end with it
    counts: Counter[Word] = Counter()
    for node, operation in enumerate(graph.operations):
        begun: Counter[Word] = Counter([()] if operation == "input" else [])
        words = sum((arriving[source] for source in sources.get(node, [])), begun)
        if operation == "output":
            counts += words
        elif operation != "input" and operation not in transparent:
            words = Counter({(*word, operation): n for word, n in words.items() if len(word) != longest})
        arriving.append(words)
    return dict(counts)


def _reaching_output(graph: ArchGraph) -> set[int]:
    live = {node for node, operation in enumerate(graph.operations) if operation == "output"}
    outward_first = sorted(graph.edges, reverse=True)  # all edges that leave a node come before those into it
    for source, target in outward_first:
        if target in live:
            live.add(source)
    return live
