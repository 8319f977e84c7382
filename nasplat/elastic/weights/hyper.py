"""A hypernetwork: a network that reads the architecture and computes the weights of all layers.

Its last layer is linear, theta = sum_k h_k(a) Theta_k with h the last hidden activations (HyperNetworks,
arXiv:1609.09106). So the columns of that layer are the atoms of a bank, and the rest of the hypernetwork is a router
that all layers share: K hidden activations cost K sets of parameters, and no more.

Plain, the computed weights grow with the input: theta(t z) = t theta(z) at the start. The magnitude invariant form
(arXiv:2304.07645) ends that with an input of constant norm and a start that does not go through the hypernetwork:

    E(z) = [cos(pi z / 2), sin(pi z / 2)],  theta = theta_0 + sum_k h_k(E(z)) Theta_k
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.elastic.weights.encoding import ArchEncoding
from nasplat.elastic.weights.soft import AnyArch
from nasplat.elastic.weights.sources import Bank, Coefficient

SLOPE = 0.01  # of LeakyReLU


class Hypernetwork(nn.Module):
    """All of a hypernetwork but its last layer: two layers with LeakyReLU on the encoding z (m,), 0 to 1.

    atoms: K, of which theta_0 is the first where it is magnitude invariant.
    """

    def __init__(
        self, encoding: ArchEncoding, atoms: int, *, hidden: int = 64, magnitude_invariant: bool = True
    ) -> None:
        super().__init__()
        self.encoding, self.invariant = encoding, magnitude_invariant
        self.first = nn.Linear(len(encoding) * (2 if magnitude_invariant else 1), hidden)
        self.second = nn.Linear(hidden, atoms - 1 if magnitude_invariant else atoms)
        for layer in (self.first, self.second):
            nn.init.kaiming_normal_(layer.weight, a=SLOPE)
            nn.init.zeros_(layer.bias)

    def forward(self, arch: AnyArch) -> list[Coefficient]:
        """The K coefficients, all () but a plain 1.0 for theta_0; in the precision of its own weights."""
        weight = self.first.weight
        with torch.autocast(weight.device.type, enabled=False):
            hidden = self.activations(self.encoding(arch, weight.device).to(weight.dtype)).unbind()
        return [1.0, *hidden] if self.invariant else list(hidden)

    def activations(self, z: Tensor) -> Tensor:
        """The last hidden activations h of an encoding z (m,)."""
        features = constant_norm(z) if self.invariant else z
        hidden = F.leaky_relu(self.first(features), SLOPE)
        return F.leaky_relu(self.second(hidden), SLOPE)


def constant_norm(z: Tensor) -> Tensor:
    """E(z) = [cos(pi z / 2), sin(pi z / 2)], (2 m,), of the norm sqrt(m) for any z (m,)."""
    angle = z * (math.pi / 2)
    return torch.cat([angle.cos(), angle.sin()])


@dataclass(frozen=True, slots=True, eq=False)
class FromHypernetwork:
    """The router of a layer whose hypernetwork is registered once, at the root of the network."""

    hypernetwork: Hypernetwork

    def __call__(self, arch: AnyArch) -> Sequence[Coefficient]:
        coefficients: Sequence[Coefficient] = self.hypernetwork(arch)
        return coefficients


@torch.no_grad()
def start_columns(bank: Bank, *, magnitude_invariant: bool) -> None:
    """Scale fresh atoms as columns of the last layer of a hypernetwork.

    Plain: the layer's own start over sqrt(K), so that the mixture by activations near 1 starts as large as the layer
    does. Magnitude invariant: theta_0 is left as it is, the others get the deviation 1 / sqrt(fan out), the
    numbers of each tensor being a last layer of their own.
    """
    for name in bank.slot.tensors:
        for k, atom in enumerate(bank.atoms(name)):
            if not magnitude_invariant:
                atom.div_(math.sqrt(len(bank)))
            elif k > 0:
                nn.init.normal_(atom, std=atom.numel() ** -0.5)
