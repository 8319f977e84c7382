"""Elastic resolution: images that an architecture looks at in a smaller or larger form."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.elastic.sizes import Dimension, dimension
from nasplat.space import Arch


class ElasticResize(nn.Module):
    """Images scaled, bilinearly, until their shorter side has the resolution of the architecture.

    Once-for-All (arXiv:1908.09791) trains on images loaded in several resolutions; here the network scales them
    itself, so that an exported subnet takes the images as they are. Resolution cannot be masked: a soft architecture
    raises InvalidArchitecture unless there is a single resolution.
    Shapes: x (n, c, *image) -> (n, c, h, w) with min(h, w) the resolution and h / w that of `image`, rounded.
    """

    def __init__(self, resolution: int | Dimension, image: tuple[int, int]) -> None:
        super().__init__()
        self.resolution, self.image = dimension(resolution), image

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        resolution, shorter = self.resolution(arch), min(self.image)
        if resolution == shorter:
            return x
        size = [round(side * resolution / shorter) for side in self.image]
        return F.interpolate(x, size, mode="bilinear", align_corners=False)
