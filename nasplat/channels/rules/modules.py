"""Layers of `torch.nn` that are called as a whole: each is the function that it computes, with its own weights."""

from __future__ import annotations

from typing import Any

from nasplat.channels.rules import moving, norms, pointwise, recurrent, reducing, weighted
from nasplat.channels.rules.weighted import Layout
from nasplat.channels.run import Call, Rule, Run
from nasplat.channels.values import Weight


def own(run: Run, call: Call, name: str) -> Weight | None:
    """A parameter or buffer of the layer that is called, by its name there."""
    tensor = getattr(call.target, name, None)
    found = None if tensor is None else run.weight(tensor)
    return found if isinstance(found, Weight) else None


def linear(run: Run, call: Call) -> Any:
    """`nn.Linear`."""
    weights = own(run, call, "weight"), own(run, call, "bias")
    return weighted.layer(run, call, call.args[0], -1, weights, Layout("linear"))


def convolution(run: Run, call: Call) -> Any:
    """`nn.ConvNd` and `nn.ConvTransposeNd`."""
    layer, weights = call.target, (own(run, call, "weight"), own(run, call, "bias"))
    layout = (
        Layout("conv_transpose", 1, 0, layer.groups)
        if layer.transposed
        else Layout("conv", groups=layer.groups)
    )
    return weighted.layer(run, call, call.args[0], 1, weights, layout)


def batch_norm(run: Run, call: Call) -> Any:
    """`nn.BatchNormNd` and `nn.InstanceNormNd`."""
    names = ("weight", "bias", "running_mean", "running_var")
    return norms.by_channel(run, call, call.args[0], tuple(own(run, call, name) for name in names))


def layer_norm(run: Run, call: Call) -> Any:
    """`nn.LayerNorm` and `nn.RMSNorm`."""
    weights = own(run, call, "weight"), own(run, call, "bias")
    return norms.over_last(run, call, call.args[0], call.target.normalized_shape, weights)


def group_norm(run: Run, call: Call) -> Any:
    """`nn.GroupNorm`."""
    call.args = (call.args[0], call.target.num_groups, own(run, call, "weight"), own(run, call, "bias"))
    return norms.group_norm(run, call)


def embedding(run: Run, call: Call) -> Any:
    """`nn.Embedding`."""
    call.args = (call.args[0], own(run, call, "weight"))
    return weighted.embedding(run, call)


def prelu(run: Run, call: Call) -> Any:
    """`nn.PReLU`."""
    call.args = (call.args[0], own(run, call, "weight"))
    return pointwise.prelu(run, call)


def function(run: Run, call: Call) -> Any:
    """An activation."""
    return pointwise.activated(run, call, call.args[0], call.operation.lower())


def gated(run: Run, call: Call) -> Any:
    """`nn.GLU`."""
    call.kwargs = {"dim": call.target.dim}
    return pointwise.gated(run, call)


def softmax(run: Run, call: Call) -> Any:
    """`nn.Softmax` and `nn.LogSoftmax`."""
    call.kwargs = {"dim": call.target.dim}
    return reducing.softmax(run, call)


ACTIVATIONS = ("ReLU", "ReLU6", "LeakyReLU", "ELU", "SELU", "CELU", "GELU", "SiLU", "Mish", "Hardswish", "Hardsigmoid",
               "Hardtanh", "Sigmoid", "LogSigmoid", "Tanh", "Tanhshrink", "Softplus", "Softsign", "Softshrink",
               "Hardshrink", "Threshold")  # fmt: skip
POOLS = ("MaxPool", "AvgPool", "AdaptiveAvgPool", "AdaptiveMaxPool", "LPPool")
SAME = ("Identity", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout")
MOVES = ("Flatten", "Unflatten", "PixelShuffle", "PixelUnshuffle", "ChannelShuffle", "ZeroPad1d", "ZeroPad2d")
EVERY = (1, 2, 3)

MODULES: dict[str, Rule] = {
    "Linear": linear,
    **{f"{kind}{n}d": convolution for kind in ("Conv", "ConvTranspose") for n in EVERY},
    **{f"{kind}{n}d": batch_norm for kind in ("BatchNorm", "InstanceNorm") for n in EVERY},
    "LayerNorm": layer_norm,
    "RMSNorm": layer_norm,
    "GroupNorm": group_norm,
    "Embedding": embedding,
    "PReLU": prelu,
    **dict.fromkeys(ACTIVATIONS, function),
    **{f"{kind}{n}d": reducing.pool for kind in POOLS for n in EVERY},
    "Upsample": reducing.pool,
    **dict.fromkeys(SAME, moving.same),
    **dict.fromkeys(MOVES, moving.move),
    "GLU": gated,
    "Softmax": softmax,
    "LogSoftmax": softmax,
    **recurrent.MODULES,
}
