"""What a score may look at: a network, a batch, and the passes that it shares with other scores."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize

from nasplat.errors import NasplatError
from nasplat.scoring.layers import Weighted, weighted_layers


class Evidence:
    """One network and one batch, for one call of one score.

    model: the caller's network, to be read, never changed nor run. images (n, ...), labels (n,): to be read.
    The passes (macs and the following) are those that the score declares in `shares`; reading another
    one raises NasplatError, and reading one that failed raises its reason. Their tensors belong to all scores:
    read them only.
    """

    def __init__(
        self, model: nn.Module, images: Tensor, labels: Tensor, passes: Mapping[str, Any] | None = None
    ) -> None:
        self.model, self.images, self.labels = model, images, labels
        self._passes = dict(passes or {})

    @property
    def layers(self) -> dict[str, Weighted]:
        """Convolutions and linear layers of the network by name, in `modules()` order; to be read."""
        return weighted_layers(self.model)

    @property
    def weights(self) -> dict[str, Tensor]:
        """The weights of the layers, without gradients."""
        made = any(parametrize.is_parametrized(layer) for layer in self.layers.values())
        layers = weighted_layers(self.copy()) if made else self.layers  # making a weight may move buffers
        return {name: layer.weight.detach() for name, layer in layers.items()}

    def copy(self) -> nn.Module:
        """A private copy of the network in training mode, to be changed at will."""
        return copy.deepcopy(self.model).train()

    @property
    def macs(self) -> dict[str, float]:
        """Multiply-adds for one image: "" of the whole network, then of each layer."""
        found: dict[str, float] = self._pass("macs")
        return found

    @property
    def outputs(self) -> object:
        """What the network returns in training mode, without gradients; of a classifier a tensor (n, classes)."""
        return self._pass("outputs")

    @property
    def relu_kernels(self) -> dict[str, Tensor]:
        """Of each ReLU (n, n): the number of units on which images agree, in double precision on the CPU."""
        found: dict[str, Tensor] = self._pass("relu_kernels")
        return found

    @property
    def weight_gradients(self) -> dict[str, Tensor]:
        """Of each layer, shaped as its weight: the gradient of the mean cross entropy; zeros where it is unused."""
        found: dict[str, Tensor] = self._pass("weight_gradients")
        return found

    @property
    def gate_gradients(self) -> dict[str, Tensor]:
        """Of each layer (n, channels): sum over positions of its output times the output's loss gradient.

        That is each image's derivative of the mean cross entropy by a gate of 1 on each output channel.
        """
        found: dict[str, Tensor] = self._pass("gate_gradients")
        return found

    @property
    def jacobian_correlations(self) -> dict[str, Tensor | None]:
        """Correlation (n, n) between images of the gradient of the sum of logits, in double precision on the CPU.

        "" stands for the gradient with respect to the images, a layer's name for that with respect to its output.
        None where it is constant for an image, as without a path to it: its correlation is not defined.
        """
        found: dict[str, Tensor | None] = self._pass("jacobian_correlations")
        return found

    @property
    def hessian_gradients(self) -> dict[str, Tensor]:
        """Of each layer, shaped as its weight: H g, g the gradient and H the Hessian of the loss by all weights."""
        found: dict[str, Tensor] = self._pass("hessian_gradients")
        return found

    @property
    def block_maps(self) -> dict[str, Tensor]:
        """Of each block its output (n, c, h, w) on a draw of weights and images, with the graph between them.

        See nasplat.scoring.blocks.block_maps. Keep the graph when you go back through it: `retain_graph=True`.
        """
        found: dict[str, Tensor] = self._pass("block_maps")
        return found

    @property
    def block_entropies(self) -> dict[str, float]:
        """Of each block the entropy of its map's principal components; see nasplat.scoring.component_entropies."""
        found: dict[str, float] = self._pass("block_entropies")
        return found

    def _pass(self, name: str) -> Any:
        if name not in self._passes:
            raise NasplatError(f"the score reads the pass {name!r}: name it in the score's `shares`")
        found = self._passes[name]
        if isinstance(found, Exception):
            raise found
        return found
