"""Multiply-adds of a network, layer by layer."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException

from nasplat.measure import count_macs
from nasplat.scoring.layers import Weighted, weighted_layers
from nasplat.scoring.reasons import NotApplicable


def layer_macs(model: nn.Module, images: Tensor) -> dict[str, float]:
    """Multiply-adds for one of images (n, ...): "" of the whole network as count_macs counts them, then of each layer.

    model: a private copy. Those of a layer go over all of its calls; products outside of layers, as in attention, are
    in "" only. NotApplicable where the network branches on values.
    """
    layers: dict[str, float] = {}
    for name, layer in weighted_layers(model).items():
        layers[name] = 0.0
        layer.register_forward_hook(partial(_count, layers, name))
    try:
        return {"": float(count_macs(model, images)), **layers}
    except DataDependentOutputException as error:
        raise NotApplicable(
            "the network branches on values: what it computes is not decided by shapes"
        ) from error


def _count(layers: dict[str, float], name: str, layer: Weighted, inputs: Any, output: Tensor) -> None:
    layers[name] += output.numel() * layer.weight[0].numel()  # one product with this row of weights each
