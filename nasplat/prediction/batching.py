"""Graphs of operations as tensors: a fitted vocabulary of words, and dense batches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nasplat.errors import NasplatError, expected_one_of
from nasplat.prediction.sample import Sample
from nasplat.space import ArchGraph

Integers: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The words of operations that a predictor has learned, in the order of their numbers."""

    words: tuple[str, ...]

    @classmethod
    def of(cls, graphs: Iterable[ArchGraph], known: Sequence[str] = ()) -> Self:
        """The known words, then those of the graphs that are new, sorted."""
        new = {word for graph in graphs for word in graph.operations}.difference(known)
        return cls((*known, *sorted(new)))

    def numbers(self, graphs: Sequence[ArchGraph]) -> list[list[int]]:
        """The number of every operation of every graph; NasplatError for a word that was never learned."""
        number = {word: i for i, word in enumerate(self.words)}
        try:
            return [[number[word] for word in graph.operations] for graph in graphs]
        except KeyError as error:
            (word,) = error.args
            raise NasplatError(
                f"operation {word!r} was not learned: {expected_one_of(word, self.words)}; "
                "fit the predictor on graphs that have it"
            ) from None


def graphs_of(samples: Sequence[Sample]) -> list[ArchGraph]:
    """The graphs of samples; NasplatError names the first sample without one."""
    graphs = []
    for sample in samples:
        if sample.graph is None or not sample.graph.operations:
            raise NasplatError(
                f"architecture {sample.arch.key} has no graph: use a space whose notation has `graph`, "
                "or a predictor that needs none"
            )
        graphs.append(sample.graph)
    return graphs


def dense_batch(graphs: Sequence[ArchGraph], vocabulary: Vocabulary) -> dict[str, Tensor]:
    """n small graphs, padded to the v nodes of the largest.

    operations (n, v, w): one-hot words, rows of zeros where there is no node, so that their sum is the mask.
    adjacency (n, v, v): 1 at [source, target] of every edge. Both float32.
    """
    operations = _one_hot(graphs, vocabulary)
    n, v, _ = operations.shape
    adjacency = np.zeros((n, v, v), np.float32)
    rows, _, ends = _edges(graphs)
    adjacency[rows, ends[:, 0], ends[:, 1]] = 1
    return {"operations": torch.from_numpy(operations), "adjacency": torch.from_numpy(adjacency)}


def sparse_batch(graphs: Sequence[ArchGraph], vocabulary: Vocabulary) -> dict[str, Tensor]:
    """n graphs of any size, padded to the v nodes and the e edges of the largest.

    operations (n, v, w): as in a dense batch. sources and targets (n, e), int64: the ends of every edge, and v, which
    is no node, beyond the last.
    """
    operations = _one_hot(graphs, vocabulary)
    n, v, _ = operations.shape
    rows, places, ends = _edges(graphs)
    table = np.full((2, n, max((len(graph.edges) for graph in graphs), default=0)), v, np.int64)
    table[:, rows, places] = ends.T
    sources, targets = torch.from_numpy(table)
    return {"operations": torch.from_numpy(operations), "sources": sources, "targets": targets}


def node_mask(operations: Tensor) -> Tensor:
    """True where a dense batch has a node: (n, v) of operations (n, v, w)."""
    return operations.sum(-1) > 0


def _one_hot(graphs: Sequence[ArchGraph], vocabulary: Vocabulary) -> NDArray[np.float32]:
    words = vocabulary.numbers(graphs)
    rows, nodes = ragged([len(row) for row in words])
    operations = np.zeros((len(words), max(map(len, words), default=0), len(vocabulary.words)), np.float32)
    operations[rows, nodes, np.fromiter((word for row in words for word in row), np.int64)] = 1
    return operations


def _edges(graphs: Sequence[ArchGraph]) -> tuple[Integers, Integers, Integers]:
    """Of all edges: their graph, their place among its edges, and their ends (m, 2)."""
    ends = np.array([edge for graph in graphs for edge in graph.edges], np.int64).reshape(-1, 2)
    return *ragged([len(graph.edges) for graph in graphs]), ends


def ragged(lengths: Sequence[int]) -> tuple[Integers, Integers]:
    """Row and place in the row of every entry of ragged rows."""
    counts = np.array(lengths, np.int64)
    rows = np.repeat(np.arange(len(counts)), counts)
    return rows, np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
