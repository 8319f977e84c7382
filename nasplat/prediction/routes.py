"""Graphs of operations as numbers of their routes: how many, how long, and what follows what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from nasplat.space import ArchGraph

TRANSPARENT = ("skip_connect", "skip", "identity")
"""Operations that pass their input on, and are no letters of a path."""

ENDS = ("input", "output")


def letters_of(graphs: Sequence[ArchGraph]) -> list[str]:
    """The operations that count on a path, sorted."""
    return sorted({word for graph in graphs for word in graph.operations} - {*TRANSPARENT, *ENDS})


def letter_sets(letters: Sequence[str]) -> NDArray[np.float64]:
    """Which letters (columns) belong to each set (rows): every one alone, every two, and all of them."""
    chosen = [*combinations(range(len(letters)), 1), *combinations(range(len(letters)), 2)]
    if len(letters) > 2:
        chosen.append(tuple(range(len(letters))))
    sets = np.zeros((len(chosen), len(letters)))
    for row, members in enumerate(chosen):
        sets[row, list(members)] = 1
    return sets


@dataclass(slots=True)
class _Tally:
    """Of all paths that end at one node: their number, and the counts of letters on them."""

    paths: float
    longest: NDArray[np.float64]  # (sets,): the most letters of the set on one path
    shortest: NDArray[np.float64]  # (sets,): the fewest
    total: NDArray[np.float64]  # (letters,): the sum over paths
    turns: NDArray[np.float64]  # (letters, letters): how often one comes before another, summed over paths


def route_numbers(
    graph: ArchGraph, letters: Sequence[str], sets: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Numbers of all paths from an "input" to an "output", and of their turns.

    The first (1 + 3 sets,): log(1 + paths), then for each set of letters the most and the fewest of them on a path
    (-1 without a path), and log(1 + their sum over all paths). The second (letters^2,): log(1 + how often a letter
    comes before another). Unlike path counts they have few columns, so that a word that no training sample has
    still says something. Unknown operations are no letters. Cost: edges times letters^2, however many paths there are.
    """
    end = _at_the_end(graph, {letter: i for i, letter in enumerate(letters)}, sets)
    if end is None:
        k = len(sets)
        return np.concatenate([[0.0], np.full(2 * k, -1.0), np.zeros(k)]), np.zeros(len(letters) ** 2)
    sums = np.log1p(sets @ end.total)
    return np.concatenate([[np.log1p(end.paths)], end.longest, end.shortest, sums]), np.log1p(
        end.turns
    ).ravel()


def _at_the_end(graph: ArchGraph, places: dict[str, int], sets: NDArray[np.float64]) -> _Tally | None:
    """All paths to outputs together, by dynamic programming over the topological order; None without any."""
    sources: list[list[int]] = [[] for _ in graph.operations]
    for source, target in graph.edges:
        sources[target].append(source)
    at: list[_Tally | None] = []
    ends = []
    for operation, before in zip(graph.operations, sources, strict=True):
        arriving = [tally for s in before if (tally := at[s]) is not None]
        if operation == "input":
            arriving.append(_start(len(places), len(sets)))
        here = _joined(arriving) if arriving else None
        if here is not None and operation in places:
            _pass(here, places[operation], sets)
        if here is not None and operation == "output":
            ends.append(here)
        at.append(here)
    return _joined(ends) if ends else None


def _start(letters: int, sets: int) -> _Tally:
    return _Tally(1.0, np.zeros(sets), np.zeros(sets), np.zeros(letters), np.zeros((letters, letters)))


def _joined(tallies: list[_Tally]) -> _Tally:
    return _Tally(
        sum(t.paths for t in tallies),
        np.max([t.longest for t in tallies], axis=0),
        np.min([t.shortest for t in tallies], axis=0),
        np.sum([t.total for t in tallies], axis=0),
        np.sum([t.turns for t in tallies], axis=0),
    )


def _pass(here: _Tally, letter: int, sets: NDArray[np.float64]) -> None:
    """Put a letter at the end of every path."""
    here.longest += sets[:, letter]
    here.shortest += sets[:, letter]
    here.turns[:, letter] += here.total
    here.total[letter] += here.paths
