"""Fresh weights for the scores that are defined on an initialisation of their own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torch.nn.utils import parametrize

from nasplat.scoring.layers import weighted_layers
from nasplat.scoring.reasons import NotApplicable

NORMS = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.InstanceNorm2d,
)

kaiming_normal = partial(nn.init.kaiming_normal_, mode="fan_in", nonlinearity="relu")
"""N(0, 2 / fan_in) (arXiv:1502.01852), as AZ-NAS draws."""


def initialise(model: nn.Module, draw: Callable[[Tensor], object]) -> None:
    """Weights of convolutions and linear layers by `draw`, in `modules()` order; biases zero; norms as new.

    New norms have scale 1, shift 0 and running statistics 0 and 1. Other parameters stay as they are.
    NotApplicable for a layer that makes its weight from others.
    """
    for name, layer in weighted_layers(model).items():
        if parametrize.is_parametrized(layer):
            raise NotApplicable(f"{name} makes its weight from other parameters: it cannot be drawn anew")
        draw(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    for module in model.modules():
        if isinstance(module, NORMS):
            module.reset_parameters()
