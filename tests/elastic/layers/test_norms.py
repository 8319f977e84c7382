"""Every norm against its formula, in training, in evaluation, and as a plain layer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nasplat.elastic import (
    NORMS,
    ElasticBatchNorm2d,
    ElasticConv2d,
    ElasticEvoNorm2d,
    ElasticGroupNorm,
    ElasticLayerNorm,
    ElasticSpace,
    Key,
    Norms,
    Scaled,
    Size,
    extract,
    recalibrate,
)
from nasplat.errors import NasplatError
from nasplat.space import Arch, ordinal

WIDTH_CHOICE = ordinal("width", (2, 4, 8))
WIDTH, KEY = Size(8, "width"), Key.of(WIDTH_CHOICE)


def norms(name: str) -> Norms:
    return Norms(name, KEY if name == "keyed" else None, group=2)


class Net(nn.Module):
    """Two convolutions, the second with a norm without activation, for whatever norm."""

    def __init__(self, norms: Norms) -> None:
        super().__init__()
        self.stem = ElasticConv2d(3, WIDTH, 3)
        self.norm1 = norms.activated(WIDTH, nn.ReLU())
        self.conv = ElasticConv2d(WIDTH, WIDTH, 3)
        self.norm2 = norms.norm(WIDTH)

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        x = self.norm1(self.stem(x, arch), arch)
        y: Tensor = x + self.norm2(self.conv(x, arch), arch)
        return y.mean((2, 3))


def space(name: str) -> ElasticSpace:
    return ElasticSpace("net", [WIDTH_CHOICE], network=lambda: Net(norms(name)), input_shape=(3, 5, 5))


def randomised(net: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for tensor in net.state_dict().values():
        tensor.uniform_(0.3, 1.3, generator=generator)
    return net


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("training", [True, False])
def test_a_subnet_with_any_norm_equals_its_supernet(name: str, training: bool) -> None:
    net, x = randomised(space(name).supernet()).train(training), torch.randn(4, 3, 5, 5)
    for width in (2, 4, 8):
        arch = Arch({"width": width})
        torch.testing.assert_close(extract(net, arch)(x), net(x, arch), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", NORMS)
def test_a_built_network_with_any_norm_starts_normalised_and_has_the_extracted_shapes(name: str) -> None:
    made, arch = space(name), Arch({"width": 4})
    module, subnet = made.build(arch), extract(made.supernet(), arch)
    shapes = [{k: v.shape for k, v in m.state_dict().items()} for m in (module, subnet)]
    assert shapes[0] == shapes[1]
    for key, tensor in module.state_dict().items():
        if "norm" in key and "tracked" not in key:
            assert torch.equal(
                tensor, torch.full_like(tensor, float("bias" not in key and "mean" not in key))
            )


def test_running_statistics_and_weights_of_a_keyed_norm_are_those_of_its_key() -> None:
    layer, plain = ElasticBatchNorm2d(WIDTH, key=KEY), nn.BatchNorm2d(4)
    x = torch.randn(4, 4, 5, 5) * 2 + 1
    torch.testing.assert_close(layer(x, Arch({"width": 4})), plain(x))
    torch.testing.assert_close(layer.running_mean[1, :4], plain.running_mean)
    torch.testing.assert_close(layer.running_var[1, :4], plain.running_var)
    assert not layer.running_mean[[0, 2]].any()
    assert torch.equal(layer.running_var[[0, 2]], torch.ones(2, 8))
    layer.source.bank.weight_1.data.fill_(3.0)
    plain.weight.data.fill_(3.0)
    torch.testing.assert_close(layer.eval()(x, Arch({"width": 4})), plain.eval()(x))
    torch.testing.assert_close(layer(x[:, :2], Arch({"width": 2})), x[:, :2] / (1 + 1e-5) ** 0.5)


def test_batch_statistics_know_neither_mode_nor_the_past() -> None:
    net, x = space("batch_statistics").supernet(), torch.randn(4, 3, 5, 5)
    arch = Arch({"width": 4})
    before = net.train()(x, arch)
    net(x * 5 + 1, arch)
    torch.testing.assert_close(net.eval()(x, arch), before)
    assert not list(net.buffers())
    assert recalibrate(extract(net, arch), [x]).layers == 0


def test_group_norm_divides_the_width_into_groups_of_fixed_size() -> None:
    layer, x = ElasticGroupNorm(WIDTH, 2), torch.randn(3, 4, 5, 5)
    pairs = x.reshape(3, 2, -1)
    expected = (pairs - pairs.mean(2, keepdim=True)) / (
        pairs.var(2, correction=0, keepdim=True) + 1e-5
    ).sqrt()
    torch.testing.assert_close(layer(x, Arch({"width": 4})), expected.reshape_as(x))
    assert layer.plain(Arch({"width": 4})).num_groups == 2


def test_evonorm_is_swish_over_the_deviation_of_its_group() -> None:
    layer = randomised(ElasticEvoNorm2d(WIDTH, 2))
    x, bank = torch.randn(3, 4, 5, 5), layer.source.bank
    weight, bias, v = (tensor[:4] for name in ("weight", "bias", "v") for tensor in bank.atoms(name))
    std = torch.stack(
        [(x[:, c // 2 * 2 : c // 2 * 2 + 2].var((1, 2, 3), correction=0) + 1e-5).sqrt() for c in range(4)], 1
    )
    expected = x / (1 + torch.exp(-v * x)) / std[..., None, None] * weight + bias
    torch.testing.assert_close(layer(x, Arch({"width": 4})), expected)
    torch.testing.assert_close(layer.plain(Arch({"width": 4}))(x), expected)


def test_layer_norm_normalises_the_last_axis() -> None:
    layer, plain = ElasticLayerNorm(WIDTH, eps=1e-6), nn.LayerNorm(4, eps=1e-6)
    x = torch.randn(3, 5, 4)
    torch.testing.assert_close(layer(x, Arch({"width": 4})), plain(x))
    torch.testing.assert_close(layer.plain(Arch({"width": 4}))(x), plain(x))


@pytest.mark.parametrize("make", [ElasticGroupNorm, ElasticEvoNorm2d])
def test_a_width_that_the_group_does_not_divide_is_refused_when_the_network_is_made(make: type) -> None:
    with pytest.raises(NasplatError, match=r"^a norm in groups of 8 gets 12 channels: choose widths"):
        make(12)
    hidden = Scaled(WIDTH, 1.0, "expand")
    choices = [WIDTH_CHOICE, ordinal("expand", (0.75, 1.0))]
    made = ElasticSpace("net", choices, network=lambda: make(hidden, 2))
    for use in (made.supernet, lambda: made.build(made.largest())):
        with pytest.raises(NasplatError, match="in groups of 2 gets 3 channels"):
            use()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "bacth"}, "no norm is named 'bacth': did you mean 'batch'"),
        ({"name": "keyed"}, r"keyed norms need a key: give Norms\('keyed', key=Key"),
        ({"name": "group", "group": 0}, "a group of 0 channels: give at least 1"),
    ],
)
def test_norms_that_make_no_sense_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(NasplatError, match=message):
        Norms(**arguments)  # type: ignore[arg-type]
