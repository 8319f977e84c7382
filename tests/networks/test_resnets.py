"""ResNets against what their papers and their published weights say."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nasplat.networks import (
    resnet,
    resnet18,
    resnet20,
    resnet32,
    resnet44,
    resnet50,
    resnet56,
    resnet110,
)


def size(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("factory", "millions"),
    [(resnet20, 0.27), (resnet32, 0.46), (resnet44, 0.66), (resnet56, 0.85), (resnet110, 1.7)],
)
def test_networks_for_cifar_are_as_large_as_table_6_says_where_shortcuts_are_free(factory, millions) -> None:
    network = factory()
    shortcuts = sum(size(layer) for name, layer in network.named_modules() if name.endswith(".downsample"))
    assert round((size(network) - shortcuts) / 1e6, 1 if millions > 1 else 2) == millions


def test_resnet56_has_the_size_of_its_published_weights() -> None:
    assert size(resnet56()) == 855_770


@pytest.mark.parametrize(("factory", "parameters"), [(resnet18, 11_689_512), (resnet50, 25_557_032)])
def test_networks_for_imagenet_have_the_size_of_their_published_weights(factory, parameters: int) -> None:
    assert size(factory()) == parameters


def test_tensors_have_the_names_of_published_weights() -> None:
    names = resnet50(widths=(2, 2, 2, 2), classes=2).state_dict()
    assert {
        "conv1.weight",
        "bn1.running_var",
        "layer1.0.downsample.1.bias",
        "layer4.2.conv3.weight",
        "fc.bias",
    } <= set(names)
    assert len(names) == 320  # of torchvision's resnet50


def test_stages_halve_the_maps_and_the_stem_of_imagenet_quarters_them() -> None:
    images = torch.zeros(2, 1, 32, 32)
    for network, last in (
        (resnet(14, widths=(2, 3, 4), channels=1), (2, 4, 8, 8)),
        (resnet18(widths=(2, 3, 4, 5), channels=1), (2, 5, 1, 1)),
        (resnet50(widths=(2, 3, 4, 5), channels=1), (2, 20, 1, 1)),
    ):
        maps = network[: list(dict(network.named_children())).index("pool")](images)
        assert maps.shape == last


def test_widths_channels_and_classes_are_free() -> None:
    network = resnet20(widths=(3, 5, 7), channels=1, classes=4)
    assert network(torch.zeros(2, 1, 14, 14)).shape == (2, 4)
    assert network.get_submodule("layer3.2.conv2").weight.shape == (7, 7, 3, 3)


def test_a_block_adds_its_shortcut_before_the_last_rectifier() -> None:
    network = resnet(8, widths=(4, 4, 4)).eval()
    block = network.get_submodule("layer1.0")
    nn.init.zeros_(block.bn2.weight)
    x = torch.randn(2, 4, 6, 6)
    torch.testing.assert_close(block(x), x.clamp(min=0))


def test_a_depth_that_no_stages_give_is_refused() -> None:
    with pytest.raises(ValueError, match=r"depth 21 does not fit 3 stages; choose 6n \+ 2 with n at least 1"):
        resnet(21)
    with pytest.raises(ValueError, match="depth 2 does not fit 2 stages"):
        resnet(2, widths=(4, 8))


def test_convolutions_start_as_he_wrote() -> None:
    torch.manual_seed(0)
    weight = resnet20().get_submodule("layer3.1.conv1").weight
    assert float(weight.detach().var()) == pytest.approx(2 / (64 * 9), rel=0.03)
