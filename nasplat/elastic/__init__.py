"""Elastic networks: one set of weights for every architecture of a space.

net = space.supernet(); y = net(x, arch)           # the architecture is an argument
module = extract(net, arch)                        # an ordinary torch.nn module, equal to the subnet
recalibrate(module, train_batches)                 # its own batch norm statistics
"""

from __future__ import annotations

from nasplat.elastic.blocks.transformer import BlockSizes, ElasticFeedForward, TransformerBlock
from nasplat.elastic.extraction import UntraceableNetwork, extract
from nasplat.elastic.layers.attention import ElasticAttention
from nasplat.elastic.layers.base import Elastic, Restricted
from nasplat.elastic.layers.batch_norms import ElasticBatchNorm2d, ElasticBatchStatistics2d
from nasplat.elastic.layers.depth import ElasticDepth
from nasplat.elastic.layers.embedding import (
    ElasticClassToken,
    ElasticEmbedding,
    ElasticPatches,
    ElasticPositions,
    ElasticTable,
)
from nasplat.elastic.layers.group_norms import ElasticEvoNorm2d, ElasticGroupNorm, ElasticLayerNorm, EvoNorm2d
from nasplat.elastic.layers.linear import ElasticConv2d, ElasticLinear
from nasplat.elastic.layers.norms import NORMS, Activated, Norms
from nasplat.elastic.macs import mac_terms
from nasplat.elastic.parameter_graph import subnet_graph
from nasplat.elastic.recalibration import Recalibration, recalibrate
from nasplat.elastic.sizes import Dimension, Quotient, Scaled, Size
from nasplat.elastic.space import ElasticSpace, reset_parameters
from nasplat.elastic.weights.crops import KernelTransform, transformed
from nasplat.elastic.weights.routers import Key, OneHot, keyed
from nasplat.elastic.weights.soft import AnyArch, Masks, SoftArch, mask_channels, relax
from nasplat.elastic.weights.sources import (
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

__all__ = [
    "NORMS",
    "Activated",
    "AnyArch",
    "Bank",
    "BlockSizes",
    "Constant",
    "Crop",
    "Dimension",
    "Elastic",
    "ElasticAttention",
    "ElasticBatchNorm2d",
    "ElasticBatchStatistics2d",
    "ElasticClassToken",
    "ElasticConv2d",
    "ElasticDepth",
    "ElasticEmbedding",
    "ElasticEvoNorm2d",
    "ElasticFeedForward",
    "ElasticGroupNorm",
    "ElasticLayerNorm",
    "ElasticLinear",
    "ElasticPatches",
    "ElasticPositions",
    "ElasticSpace",
    "ElasticTable",
    "EvoNorm2d",
    "KernelTransform",
    "Key",
    "Masks",
    "Norms",
    "OneHot",
    "Quotient",
    "Recalibration",
    "Restricted",
    "Router",
    "Scaled",
    "Size",
    "Slot",
    "SoftArch",
    "SourceFactory",
    "TransformerBlock",
    "UntraceableNetwork",
    "WeightSource",
    "combine",
    "extract",
    "keyed",
    "mac_terms",
    "mask_channels",
    "recalibrate",
    "relax",
    "reset_parameters",
    "slice_crop",
    "sliced",
    "subnet_graph",
    "transformed",
]
