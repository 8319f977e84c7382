"""Graphs as tensors: every edge and word in its place, and one line for words that were never learned."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nasplat.errors import NasplatError
from nasplat.prediction import Sample
from nasplat.prediction.batching import Vocabulary, dense_batch, graphs_of, node_mask, sparse_batch
from nasplat.space import Arch, ArchGraph

SMALL = ArchGraph(("input", "conv", "output"), ((0, 1), (1, 2)))
LARGE = ArchGraph(("input", "pool", "conv", "output"), ((0, 1), (0, 2), (1, 2), (2, 3)))
BOTH = [SMALL, LARGE]


def test_words_get_numbers_in_order_and_new_ones_come_last() -> None:
    first = Vocabulary.of([SMALL])
    assert first.words == ("conv", "input", "output")
    assert Vocabulary.of([LARGE, ArchGraph(("linear",), ())], first.words).words == (
        *first.words,
        "linear",
        "pool",
    )
    assert Vocabulary.of(BOTH).numbers([LARGE]) == [[1, 3, 0, 2]]


def test_an_unknown_word_is_refused_with_what_is_known() -> None:
    with pytest.raises(NasplatError, match=r"'pool' was not learned.*known: conv, input, output"):
        Vocabulary.of([SMALL]).numbers(BOTH)


def test_dense_and_sparse_batches_hold_the_same_edges() -> None:
    words = Vocabulary.of(BOTH)
    dense, sparse = dense_batch(BOTH, words), sparse_batch(BOTH, words)
    assert torch.equal(dense["operations"], sparse["operations"])
    assert node_mask(dense["operations"]).tolist() == [[True, True, True, False], [True] * 4]
    for i, graph in enumerate(BOTH):
        found = [words.words[k] for k in dense["operations"][i, : len(graph.operations)].argmax(1)]
        assert found == list(graph.operations)
        assert {tuple(edge) for edge in dense["adjacency"][i].nonzero().tolist()} == set(graph.edges)
        pairs = zip(sparse["sources"][i].tolist(), sparse["targets"][i].tolist(), strict=True)
        assert [pair for pair in pairs if pair != (4, 4)] == list(graph.edges)


def test_graphs_without_edges_make_batches() -> None:
    dead = ArchGraph(("input", "output"), ())
    words = Vocabulary.of([dead])
    assert dense_batch([dead], words)["adjacency"].sum() == 0
    assert sparse_batch([dead], words)["sources"].shape == (1, 0)


def test_a_sample_without_a_graph_is_named() -> None:
    samples = [Sample(Arch({"a": i}), np.zeros(1, np.float32), g) for i, g in enumerate((SMALL, None))]
    with pytest.raises(NasplatError, match=f"architecture {samples[1].arch.key} has no graph"):
        graphs_of(samples)
