"""Places by the Laplacian: the spectrum of networkx, the matrix exponential, and nodes in any order."""

from __future__ import annotations

import networkx as nx
import numpy as np
import torch
from torch import Tensor

from nasplat.prediction.laplacian import eigenvectors, heat_kernels

EDGES = ((0, 1), (0, 2), (1, 3), (2, 3), (3, 4))


def padded() -> tuple[Tensor, Tensor]:
    """A diamond with a tail, and one absent node."""
    adjacency = torch.zeros(1, 6, 6)
    for source, target in EDGES:
        adjacency[0, source, target] = 1
    return adjacency, torch.tensor([[True] * 5 + [False]])


def laplacian() -> np.ndarray:
    return nx.normalized_laplacian_matrix(nx.Graph(EDGES), nodelist=range(5)).toarray()


def test_heat_kernels_are_matrix_exponentials() -> None:
    found = heat_kernels(*padded(), (0.5, 2.0))
    for i, t in enumerate((0.5, 2.0)):
        expected = torch.matrix_exp(torch.from_numpy(-t * laplacian())).float()
        torch.testing.assert_close(found[0, :5, :5, i], expected, atol=1e-5, rtol=1e-5)
    assert float(found[0, 5].abs().sum() + found[0, :, 5].abs().sum()) == 0


def test_eigenvectors_are_those_of_networkx_but_for_their_signs() -> None:
    values, vectors = np.linalg.eigh(laplacian())
    found = eigenvectors(*padded(), 2)[0].numpy()
    assert np.diff(values)[:3].min() > 1e-3  # simple eigenvalues: nothing but the sign is free
    np.testing.assert_allclose(abs(found[:5]), abs(vectors[:, 1:3]), atol=1e-5)
    assert not found[5].any()


def test_a_small_graph_has_no_more_coordinates_than_nodes() -> None:
    found = eigenvectors(torch.tensor([[[0.0, 1.0], [0.0, 0.0]]]), torch.ones(1, 2, dtype=torch.bool), 4)
    assert found.shape == (1, 2, 4)
    assert float(found[..., 1:].abs().sum()) == 0


def test_heat_kernels_follow_the_order_of_nodes() -> None:
    adjacency, mask = padded()
    order = torch.tensor([3, 5, 0, 4, 2, 1])
    moved = heat_kernels(adjacency[:, order][:, :, order], mask[:, order], (1.0,))
    torch.testing.assert_close(moved, heat_kernels(adjacency, mask, (1.0,))[:, order][:, :, order])
