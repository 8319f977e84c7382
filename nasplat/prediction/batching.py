"""Graphs of operations as tensors: a fitted vocabulary of words, and dense batches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from nasplat.errors import NasplatError, expected_one_of
from nasplat.prediction.sample import Sample
from nasplat.space import ArchGraph


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
    """n graphs, padded to the v nodes of the largest.

    operations (n, v, w): one-hot words, rows of zeros where there is no node, so that their sum is the mask.
    adjacency (n, v, v): 1 at [source, target] of every edge. Both float32.
    """
    n, v = len(graphs), max((len(graph.operations) for graph in graphs), default=0)
    words = vocabulary.numbers(graphs)
    operations = np.zeros((n, v, len(vocabulary.words)), np.float32)
    rows, nodes = _places([len(row) for row in words])
    operations[rows, nodes, np.fromiter((word for row in words for word in row), np.int64)] = 1
    adjacency = np.zeros((n, v, v), np.float32)
    ends = np.array([edge for graph in graphs for edge in graph.edges], np.int64).reshape(-1, 2)
    adjacency[_places([len(graph.edges) for graph in graphs])[0], ends[:, 0], ends[:, 1]] = 1
    return {"operations": torch.from_numpy(operations), "adjacency": torch.from_numpy(adjacency)}


def node_mask(operations: Tensor) -> Tensor:
    """True where a dense batch has a node: (n, v) of operations (n, v, w)."""
    return operations.sum(-1) > 0


def _places(lengths: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Row and place in the row of every entry of ragged rows."""
    counts = np.array(lengths, np.int64)
    rows = np.repeat(np.arange(len(counts)), counts)
    return rows, np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
