"""A space of small networks: choices as data, and a function that builds ordinary PyTorch modules."""

from torch import nn

from nasplat import Arch, Space, categorical, ordinal

ACTIVATIONS = {"relu": nn.ReLU, "silu": nn.SiLU}


def small_convnet(*, input_shape: tuple[int, int, int], classes: int) -> Space:
    """Up to three convolutions, each with a width of its own, for images (channels, height, width)."""
    choices = [
        categorical("activation", list(ACTIVATIONS)),
        ordinal("depth", [1, 2, 3]),
        ordinal("width1", [8, 16, 32]),
        ordinal("width2", [8, 16, 32], when={"depth": [2, 3]}),
        ordinal("width3", [8, 16, 32], when={"depth": [3]}),
    ]

    def build(arch: Arch) -> nn.Module:
        layers: list[nn.Module] = []
        channels = input_shape[0]
        for i in range(1, arch["depth"] + 1):
            width = arch[f"width{i}"]
            layers += [
                nn.Conv2d(channels, width, 3, padding=1),
                nn.BatchNorm2d(width),
                ACTIVATIONS[arch["activation"]](),
            ]
            channels = width
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * channels, classes))

    constants = {"classes": classes}
    return Space("small_convnet", choices, build=build, input_shape=input_shape, constants=constants)


SPACE = small_convnet
