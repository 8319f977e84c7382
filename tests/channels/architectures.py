"""Small networks of every kind, with the channels that may change places, counted by hand from their definitions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from nasplat.networks import resnet, resnet18, resnet50, vgg11_bn

from .nets import attention, convolutional, mobile, pitfalls, plain

Size = int | tuple[int, int]
"""Of a space: its channels; or its channels and the blocks that they form, such as heads or groups."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A network: how it is made, the shapes of its inputs (or a function that makes them), its hidden spaces."""

    factory: Callable[[], nn.Module]
    inputs: tuple[tuple[int, ...], ...] | Callable[[torch.Generator], tuple[Tensor, ...]]
    hidden: tuple[Size, ...]

    def network(self, seed: int = 0) -> nn.Module:
        """In eval mode and double precision, with random numbers in every parameter and buffer."""
        generator = torch.Generator().manual_seed(seed)
        network = self.factory().double().eval()
        for name, tensor in network.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5, generator=generator)
            elif tensor.is_floating_point():
                fan = tensor[0].numel() if tensor.ndim > 1 else 4
                tensor.normal_(0.0, fan**-0.5, generator=generator)
        return network

    def example(self, seed: int = 0) -> tuple[Tensor, ...]:
        """Inputs in double precision."""
        generator = torch.Generator().manual_seed(seed)
        if callable(self.inputs):
            return self.inputs(generator)
        return tuple(torch.randn(shape, generator=generator, dtype=torch.float64) for shape in self.inputs)


def tokens(generator: torch.Generator) -> tuple[Tensor, ...]:
    return (torch.randint(11, (2, 6), generator=generator),)


def graph(generator: torch.Generator) -> tuple[Tensor, ...]:
    nodes = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    return nodes, torch.tensor([[0, 1, 2, 3, 4, 5, 0, 2], [1, 2, 3, 4, 5, 0, 3, 5]])


IMAGES = ((2, 3, 8, 8),)
HEADS = ((8, 2), (8, 2))
"""Queries tied to keys, and values: two heads of four."""

ARCHITECTURES = {
    "resnet8": Entry(partial(resnet, 8, widths=(4, 5, 6), classes=5), IMAGES, (4, 4, 5, 5, 6, 6)),
    "resnet18": Entry(
        partial(resnet18, widths=(4, 5, 6, 7), classes=5),
        ((2, 3, 32, 32),),
        (4, 4, 4, 5, 5, 5, 6, 6, 6, 7, 7, 7),
    ),
    "resnet50": Entry(
        partial(resnet50, widths=(2, 3, 4, 5), classes=5),
        ((2, 3, 32, 32),),
        (2, *(2,) * 6, 8, *(3,) * 8, 12, *(4,) * 12, 16, *(5,) * 6, 20),
    ),
    "vgg11": Entry(
        partial(vgg11_bn, widths=(2, 3, 4, 5, 6), classes=5), ((2, 3, 16, 16),), (2, 3, 4, 4, 5, 5, 6, 6)
    ),
    "mobilenet_v2": Entry(mobile.MobileNetV2, IMAGES, (4, 5, 10, 6, 12, 16)),
    "mobilenet_v3": Entry(mobile.MobileNetV3, IMAGES, (4, 2, 5, 10, 3, 12, 14)),
    "efficientnet": Entry(mobile.EfficientNet, IMAGES, (6, 2, 12, 2, 8, 16, 2, 16)),
    # a: both halves of what the halving unit's first branch gives, b: of its second; one half of each passes by
    "shufflenet_v2": Entry(mobile.ShuffleNetV2, IMAGES, (4, 4, 2, 2, 2, 2, 4, 4, 9)),
    "densenet": Entry(convolutional.DenseNet, IMAGES, (4, 6, 3, 6, 3, 5, 6, 3)),
    "resnext": Entry(convolutional.ResNeXt, IMAGES, (6, (8, 2), (8, 2), 12, (8, 2), (8, 2))),
    # the channels that the padded shortcut reaches stay those of the stage before, the others are new
    "padded_resnet": Entry(convolutional.PaddedResNet, IMAGES, (4, 4, 8, 4, 8)),
    "convnext": Entry(convolutional.ConvNeXt, IMAGES, (4, 12, 6, 18)),
    "unet": Entry(convolutional.UNet, ((2, 1, 8, 8),), (4, 4, 8, 8, 5, 6, 6)),
    "lenet": Entry(convolutional.LeNet, ((2, 1, 12, 12),), (4, 6, 10)),
    "group_norms": Entry(convolutional.GroupNormNet, IMAGES, ((8, 2), (12, 3), 5)),
    "temporal": Entry(convolutional.TemporalNet, ((2, 2, 8),), (6, 7, 9)),
    "vit": Entry(attention.VisionTransformer, IMAGES, (8, *HEADS, 12, *HEADS, 12)),
    "multihead_vit": Entry(attention.MultiheadVisionTransformer, IMAGES, (8, *HEADS, 12, *HEADS, 12)),
    "decoder": Entry(attention.Decoder, tokens, (8, *HEADS, 16, *HEADS, 16)),
    "mixer": Entry(attention.Mixer, IMAGES, (8, 6, 12, 7, 14)),
    "cross_attention": Entry(attention.CrossAttention, ((2, 3, 6), (2, 4, 5)), HEADS),
    "siren": Entry(plain.Siren, ((5, 2),), (8, 9)),
    "gates": Entry(plain.GatedNet, ((3, 4),), (6, 8, 10, 5)),
    "shared": Entry(plain.SharedLayers, ((3, 4), (3, 4)), (7,)),
    "autoencoder": Entry(plain.TiedAutoencoder, ((3, 6),), (4,)),
    "lstm": Entry(partial(plain.RecurrentClassifier, nn.LSTM), tokens, (5, 6, 6)),
    "gru": Entry(partial(plain.RecurrentClassifier, nn.GRU), tokens, (5, 6, 6)),
    "hand_written_cell": Entry(plain.RecurrentCell, ((2, 4, 3),), (6,)),
    "gcn": Entry(partial(plain.graph_network, "GCNConv"), graph, (8,)),
    "sage": Entry(partial(plain.graph_network, "SAGEConv"), graph, (8,)),
}

PITFALLS = {
    "hard_reshape": Entry(pitfalls.HardReshape, IMAGES, (16,)),
    "fused_three": Entry(pitfalls.FusedThree, ((2, 3, 4),), (8, (8, 4), (8, 4), 8)),
    "fused_unbound": Entry(pitfalls.FusedUnbound, ((2, 3, 4),), (8, (8, 4), (8, 4), 8)),
    "multihead": Entry(pitfalls.Multihead, ((2, 3, 4),), (8, (8, 4), (8, 4))),
    "depthwise_then_grouped": Entry(pitfalls.DepthwiseThenGrouped, IMAGES, ((8, 4), (12, 4))),
    "self_concat": Entry(pitfalls.SelfConcat, IMAGES, (6, 7)),
    "layer_scale": Entry(pitfalls.LayerScale, IMAGES, (6,)),
    "called_twice": Entry(pitfalls.CalledTwice, IMAGES, (6,)),
    "only_in_training": Entry(pitfalls.OnlyInTraining, IMAGES, (8, 6)),
    "mixture": Entry(pitfalls.Mixture, IMAGES, (8,)),
}

ALL = ARCHITECTURES | PITFALLS
