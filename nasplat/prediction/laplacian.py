"""Where a node is in its graph, told by the Laplacian.

L = I - D^(-1/2) A D^(-1/2) of the graph without directions ("A Generalization of Transformer Networks to Graphs",
arXiv:2012.09699). Its eigenvectors as coordinates of nodes have free signs, and free bases where an
eigenvalue repeats, which it does in symmetrical cells: the same graph with its nodes in another order may get
other coordinates. The heat kernel exp(-t L) carries the same spectrum and has neither freedom.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

BEYOND = 3.0  # eigenvalues of L lie within [0, 2]: absent nodes come last


def eigenvectors(adjacency: Tensor, mask: Tensor, k: int) -> Tensor:
    """The k eigenvectors with the smallest eigenvalues after the first, (n, v, k), as published.

    adjacency (n, v, v), mask (n, v): True where there is a node. Zeros for absent nodes, and where a graph has
    fewer. Their signs are arbitrary: flip them at random in training.
    """
    _, vectors = _spectrum(adjacency, mask)
    found = vectors[:, :, 1 : k + 1] * mask[:, :, None]
    found = found * (torch.arange(1, found.shape[2] + 1) < mask.sum(1, keepdim=True))[:, None]
    return torch.nn.functional.pad(found, (0, k - found.shape[2]))


def heat_kernels(adjacency: Tensor, mask: Tensor, times: Sequence[float]) -> Tensor:
    """exp(-t L) for every time t, (n, v, v, times); zeros at absent nodes.

    Entry (i, j) is how much of the heat of node j is at node i after t: 1 on the diagonal at once, and less the
    farther two nodes are apart. Nodes in another order give the same entries in that order.
    """
    values, vectors = _spectrum(adjacency, mask)
    decay = torch.exp(-values[:, None] * torch.tensor(times)[:, None])  # (n, times, v)
    kernels = torch.einsum("nik,ntk,njk->nijt", vectors, decay, vectors)
    both = mask[:, :, None] & mask[:, None, :]
    return kernels * both[..., None]


def _spectrum(adjacency: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (n, v), ascending, and eigenvectors (n, v, v) of the Laplacians; absent nodes at BEYOND."""
    links = ((adjacency + adjacency.transpose(1, 2)) > 0).float()
    degrees = links.sum(2)
    root = degrees.clamp(min=1).rsqrt()
    own = torch.where(
        mask, (degrees > 0).float(), torch.tensor(BEYOND)
    )  # a node without links is a part of its own
    laplacian = torch.diag_embed(own) - root[:, :, None] * links * root[:, None, :]
    values, vectors = torch.linalg.eigh(laplacian)
    return values, vectors
