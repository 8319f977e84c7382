"""Batch normalisation with one set of weights for every architecture, and what it keeps of the batches it has seen."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.elastic.layers.base import affine_slot, fill, masked_affine
from nasplat.elastic.sizes import Dimension, dimension
from nasplat.elastic.weights.routers import Key, keyed
from nasplat.elastic.weights.soft import AnyArch, SoftArch
from nasplat.elastic.weights.sources import SourceFactory, sliced
from nasplat.space import Arch


class ElasticBatchNorm2d(nn.Module):
    """Batch normalisation of the channels that an architecture has.

    Weight and bias come from the source. Running statistics are no weights: the full-width buffers hold a blend
    of the architectures seen in training, so a subnet is recalibrated before it is judged (`recalibrate`). With a
    key they are (values of the key, channels), a blend for each value, and the default source is keyed too. A soft
    architecture is trained by the statistics of the batch and leaves the running ones alone.
    Shapes: x (n, c, h, w) -> (n, c, h, w).
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self,
        channels: int | Dimension,
        *,
        eps: float = 1e-5,
        momentum: float = 0.1,
        source: SourceFactory | None = None,
        key: Key | None = None,
    ) -> None:
        super().__init__()
        channels = dimension(channels)
        self.channels, self.eps, self.momentum, self.key = channels, eps, momentum, key
        source = source or (sliced if key is None else keyed(key))
        self.source = source(affine_slot(channels))
        shape = (channels.maximum,) if key is None else (len(key), channels.maximum)
        self.register_buffer("running_mean", torch.zeros(shape))
        self.register_buffer("running_var", torch.ones(shape))

    def forward(self, x: Tensor, arch: AnyArch) -> Tensor:
        weight, bias = masked_affine(self.source, self.channels, arch)
        if self.training and isinstance(arch, SoftArch):
            return F.batch_norm(x, None, None, weight, bias, True, 0.0, self.eps)
        mean, var = self._statistics(arch, weight.shape[0])
        return F.batch_norm(x, mean, var, weight, bias, self.training, self.momentum, self.eps)

    def plain(self, arch: Arch) -> nn.BatchNorm2d:
        """The ordinary batch norm of one architecture, with copied weights and statistics."""
        weight, bias = self.source(arch)
        layer = nn.BatchNorm2d(weight.shape[0], self.eps, self.momentum, device="meta")
        mean, var = self._statistics(arch, weight.shape[0])
        layer.running_mean, layer.running_var = mean.clone(), var.clone()
        layer.num_batches_tracked = torch.zeros((), dtype=torch.long, device=weight.device)
        return fill(layer, weight=weight, bias=bias)

    def _statistics(self, arch: AnyArch, channels: int) -> tuple[Tensor, Tensor]:
        """Views of the running mean and variance (channels,); means over the keys under a soft architecture."""
        mean, var = self.running_mean, self.running_var
        if self.key is not None and isinstance(arch, SoftArch):
            p = self.key.distribution(arch)[:, None]
            return (p * mean).sum(0), (p * var).sum(0)
        if self.key is not None:
            mean, var = mean[self.key(arch)], var[self.key(arch)]
        return mean[:channels], var[:channels]


class ElasticBatchStatistics2d(nn.Module):
    """Batch normalisation by the statistics of the batch, in training and in evaluation.

    Nothing is shared among architectures but weight and bias; outputs depend on the batch, so an exported network
    wants batches of the size that it was trained with. Shapes: x (n, c, h, w) -> (n, c, h, w).
    """

    def __init__(
        self, channels: int | Dimension, *, eps: float = 1e-5, source: SourceFactory = sliced
    ) -> None:
        super().__init__()
        self.channels, self.eps = dimension(channels), eps
        self.source = source(affine_slot(self.channels))

    def forward(self, x: Tensor, arch: AnyArch) -> Tensor:
        weight, bias = masked_affine(self.source, self.channels, arch)
        return F.batch_norm(x, None, None, weight, bias, True, 0.0, self.eps)

    def plain(self, arch: Arch) -> nn.BatchNorm2d:
        """The ordinary batch norm without running statistics, with copied weights."""
        weight, bias = self.source(arch)
        layer = nn.BatchNorm2d(weight.shape[0], self.eps, track_running_stats=False, device="meta")
        return fill(layer, weight=weight, bias=bias)
