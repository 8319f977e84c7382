"""The start of a network in front of rectifiers."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def he_initialised(network: Network) -> Network:
    """The network, its convolutions drawn anew from N(0, 2 / fan out) and their biases zero (He, arXiv:1502.01852).

    Norms and linear layers keep what torch gave them.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return network
