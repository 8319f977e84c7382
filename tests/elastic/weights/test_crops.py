"""Kernel transforms against the chain of matrices written out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nasplat.elastic import (
    ElasticConv2d,
    ElasticLinear,
    ElasticSpace,
    KernelTransform,
    Size,
    extract,
    transformed,
)
from nasplat.errors import InvalidArchitecture, NasplatError
from nasplat.space import Arch, ordinal

WIDTH, KERNEL = Size(6, "width"), Size(7, "kernel")


def layer(depthwise: bool) -> ElasticConv2d:
    """A convolution with kernel transforms; depthwise or dense."""
    groups = {"groups": WIDTH} if depthwise else {}
    return ElasticConv2d(WIDTH, WIDTH, KERNEL, source=transformed((3, 5, 7)), bias=True, **groups)


@pytest.mark.parametrize("depthwise", [True, False])
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_kernels_start_as_the_centre_of_the_largest(depthwise: bool, kernel: int) -> None:
    torch.manual_seed(0)
    ours = layer(depthwise)
    plain = ElasticConv2d(WIDTH, WIDTH, KERNEL, bias=True, **({"groups": WIDTH} if depthwise else {}))
    plain.source.bank.load_state_dict(ours.source.bank.state_dict())
    arch, x = Arch({"width": 4, "kernel": kernel}), torch.randn(2, 4, 8, 8)
    torch.testing.assert_close(ours(x, arch), plain(x, arch))


@pytest.mark.parametrize("depthwise", [True, False])
def test_a_small_kernel_is_a_chain_of_windows_and_matrices(depthwise: bool) -> None:
    ours, x = layer(depthwise), torch.randn(2, 4, 8, 8)
    crop = ours.source.crop
    for matrix in crop.parameters():
        nn.init.normal_(matrix)
    five = ours.source.bank.weight_0[:4, :4, 1:6, 1:6].reshape(-1, 25) @ crop.matrix_5.T
    three = five.reshape(-1, 5, 5)[:, 1:4, 1:4].reshape(-1, 9) @ crop.matrix_3.T
    for side, flat in ((5, five), (3, three)):
        arch = Arch({"width": 4, "kernel": side})
        weight = flat.reshape(4, -1, side, side)
        bias, groups = ours.source.bank.bias_0[:4], 4 if depthwise else 1
        expected = F.conv2d(x, weight, bias, padding=side // 2, groups=groups)
        torch.testing.assert_close(ours(x, arch), expected)
        torch.testing.assert_close(ours.plain(arch).weight, weight)
        torch.testing.assert_close(ours.plain(arch)(x), expected)


def test_a_transform_learns_from_the_kernels_below_it_only() -> None:
    ours, x = layer(False), torch.randn(1, 6, 8, 8)
    ours(x, Arch({"width": 6, "kernel": 5})).sum().backward()
    crop = ours.source.crop
    assert crop.matrix_5.grad is not None
    assert crop.matrix_3.grad is None
    ours(x, Arch({"width": 6, "kernel": 3})).sum().backward()
    assert crop.matrix_3.grad is not None


def test_a_subnet_holds_the_transformed_kernel_and_no_matrix() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = layer(True)

        def forward(self, x: torch.Tensor, arch: Arch) -> torch.Tensor:
            return self.conv(x, arch)

    choices = [ordinal("width", (2, 6)), ordinal("kernel", (3, 5, 7))]
    space = ElasticSpace("net", choices, network=Net, input_shape=(6, 8, 8))
    net, arch, x = space.supernet(), Arch({"width": 2, "kernel": 3}), torch.randn(2, 2, 8, 8)
    nn.init.normal_(net.conv.source.crop.matrix_3)
    torch.testing.assert_close(extract(net, arch)(x), net(x, arch))
    shapes = {name: tuple(p.shape) for name, p in space.build(arch).named_parameters()}
    assert shapes == {"conv.weight": (2, 1, 3, 3), "conv.bias": (2,)}


def test_resetting_makes_plain_windows_again() -> None:
    crop = KernelTransform((3, 5))
    nn.init.normal_(crop.matrix_3)
    crop.reset_parameters()
    assert torch.equal(crop.matrix_3, torch.eye(9))


def test_kernels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InvalidArchitecture, match=r"a kernel of 1: expected one of \[7, 5, 3\]"):
        layer(False)(torch.randn(1, 6, 8, 8), Arch({"width": 6, "kernel": 1}))
    with pytest.raises(NasplatError, match=r"transforms from 5 for a weight with kernels \[7\]"):
        ElasticConv2d(3, 3, 7, source=transformed((3, 5)))
    with pytest.raises(NasplatError, match=r"with kernels \[\]"):
        ElasticLinear(3, 3, source=transformed((3, 5)))
