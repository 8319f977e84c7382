"""What zeros cost in time: the same network dense, masked, and with sparse linear layers.

A mask changes no shape, so a masked network takes as long as a dense one. Linear layers whose weights are stored as
compressed rows (CSR) skip zeros, and are faster only where very few weights are left.
"""

from __future__ import annotations

import copy
import warnings

import torch
from torch import Tensor, nn

from nasplat.errors import NasplatError
from nasplat.measure import LatencyResult, Repeats, measure_latency
from nasplat.measure.attention import leave_fast_path
from nasplat.prune.sparse.plan import MaskPlan

STANDARD = Repeats()


class SparseLinear(nn.Module):
    """A linear layer whose weight (o, i) is in compressed rows: (..., i) -> (..., o). For inference only."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.weight = compressed_rows(layer.weight.detach())
        self.bias = None if layer.bias is None else layer.bias.detach().clone()

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, self.in_features)
        y = (self.weight @ flat.T).T
        y = y if self.bias is None else y + self.bias
        return y.reshape(*x.shape[:-1], self.out_features)

    def __deepcopy__(self, memo: object) -> SparseLinear:
        return self  # it never changes, and torch copies no tensor of rows

    def extra_repr(self) -> str:
        size = self.in_features * self.out_features
        return f"{self.in_features} -> {self.out_features}, {self.weight.values().numel()} of {size} weights"


def compressed_rows(weight: Tensor) -> Tensor:
    """A matrix as torch's CSR tensor, without the word that these are a beta."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Sparse CSR tensor support is in beta", category=UserWarning
        )
        return weight.to_sparse_csr()


def sparse_linear(module: nn.Module) -> nn.Module:
    """A copy of the module, on the CPU, whose linear layers are in compressed rows; all other layers stay.

    NasplatError where there is no linear layer: torch has no sparse convolution.
    """
    found = copy.deepcopy(module).cpu().eval()
    if type(found) is nn.Linear:
        return SparseLinear(found)
    leave_fast_path(found)
    count = 0
    for parent in list(found.modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) is nn.Linear:
                setattr(parent, name, SparseLinear(layer))
                count += 1
    if not count:
        raise NasplatError("no linear layer to store as sparse rows: torch has no sparse convolution")
    return found


def measure_formats(
    module: nn.Module,
    plan: MaskPlan,
    example: Tensor,
    *,
    threads: int | None = None,
    repeats: Repeats = STANDARD,
) -> dict[str, LatencyResult]:
    """Latency on the CPU of a network "dense", "masked", and "csr" where it has linear layers; in milliseconds.

    Outputs of the sparse form are checked against the masked one before anything is measured.
    """
    masked = plan.apply(module).cpu().eval()
    networks = {"dense": module, "masked": masked}
    if any(type(layer) is nn.Linear for layer in module.modules()):
        networks["csr"] = sparse_linear(masked)
        with torch.inference_mode():
            torch.testing.assert_close(networks["csr"](example), masked(example), rtol=1e-4, atol=1e-4)
    return {
        name: measure_latency(net, example, threads=threads, repeats=repeats)
        for name, net in networks.items()
    }
