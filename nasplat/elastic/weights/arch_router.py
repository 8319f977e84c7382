"""Mixture-of-Supernets (arXiv:2306.04845): experts merged into one weight, by coefficients that read the architecture.

    layer-wise:   alpha = softmax(W2 relu(W1 enc(a))),  W(a) = crop(sum_k alpha_k Theta_k)
    neuron-wise:  the same with a softmax for each output row of the weight; biases go with their rows

A subnet that is taken out has the merged weight alone.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.elastic.weights.encoding import ArchEncoding
from nasplat.elastic.weights.soft import AnyArch


class ArchRouter(nn.Module):
    """K coefficients that sum to 1, of one layer in any architecture, from logits in the precision of its own weights.

    They are in single precision at least, since half of it is too coarse to sum to 1.

    rows: of the layer's weight, each with coefficients of its own; None for one number each for the whole layer.
    With `requires_grad_(False)` it stays a random map.
    """

    def __init__(
        self, encoding: ArchEncoding, experts: int, *, rows: int | None = None, hidden: int = 64
    ) -> None:
        super().__init__()
        self.encoding, self.experts, self.rows = encoding, experts, rows
        self.first = nn.Linear(len(encoding), hidden)
        self.second = nn.Linear(hidden, experts * (rows or 1))

    def forward(self, arch: AnyArch) -> list[Tensor]:
        """K tensors () or (rows,)."""
        weight = self.first.weight
        precision = torch.promote_types(weight.dtype, torch.float32)
        with torch.autocast(weight.device.type, enabled=False):
            features = self.encoding(arch, weight.device).to(weight.dtype)
            logits: Tensor = self.second(F.relu(self.first(features)))
            shape = (self.experts,) if self.rows is None else (self.rows, self.experts)
            return list(logits.view(shape).softmax(-1, dtype=precision).unbind(-1))
