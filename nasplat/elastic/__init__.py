"""Elastic networks: one set of weights for every architecture of a space.

net = space.supernet(); y = net(x, arch)           # the architecture is an argument
module = extract(net, arch)                        # an ordinary torch.nn module, equal to the subnet
recalibrate(module, train_batches)                 # its own batch norm statistics
"""

from __future__ import annotations

from nasplat.elastic.extraction import UntraceableNetwork, extract
from nasplat.elastic.layers import Elastic, ElasticBatchNorm2d, ElasticConv2d, ElasticDepth, ElasticLinear
from nasplat.elastic.recalibration import Recalibration, recalibrate
from nasplat.elastic.sizes import Dimension, Quotient, Scaled, Size
from nasplat.elastic.sources import (
    Bank,
    Constant,
    Crop,
    Router,
    Slot,
    SourceFactory,
    WeightSource,
    combine,
    slice_crop,
    sliced,
)
from nasplat.elastic.space import ElasticSpace, reset_parameters

__all__ = [
    "Bank",
    "Constant",
    "Crop",
    "Dimension",
    "Elastic",
    "ElasticBatchNorm2d",
    "ElasticConv2d",
    "ElasticDepth",
    "ElasticLinear",
    "ElasticSpace",
    "Quotient",
    "Recalibration",
    "Router",
    "Scaled",
    "Size",
    "Slot",
    "SourceFactory",
    "UntraceableNetwork",
    "WeightSource",
    "combine",
    "extract",
    "recalibrate",
    "reset_parameters",
    "slice_crop",
    "sliced",
]
