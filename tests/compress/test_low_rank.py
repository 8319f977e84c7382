"""Factors against the theorem of Eckart and Young; low-rank training against its own algebra."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nasplat.compress import (
    DlrtStep,
    DynamicalLowRank,
    LowRankPassthrough,
    factorise,
    low_rank_network,
    quantise,
)
from nasplat.data import batches, evaluate
from nasplat.data.digits import digits
from nasplat.errors import NasplatError
from nasplat.measure import count_params


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 4), st.integers(0, 99))
def test_factors_are_the_nearest_matrix_of_their_rank(rank: int, seed: int) -> None:
    torch.manual_seed(seed)
    layer = nn.Linear(12, 10).double()
    pair = factorise(layer, rank=rank).module
    product = pair[1].weight @ pair[0].weight
    tail = torch.linalg.svdvals(layer.weight)[rank:].square().sum().sqrt()
    torch.testing.assert_close((product - layer.weight).norm(), tail)
    assert torch.equal(pair[1].bias, layer.bias)


@pytest.mark.parametrize("kind", [nn.Conv1d, nn.Conv2d, nn.Conv3d])
def test_a_convolution_of_low_rank_is_two_that_compute_the_same(kind: type[nn.Conv2d]) -> None:
    axes = int(kind.__name__[4])
    conv = kind(8, 16, 3, stride=2, padding=1, padding_mode="circular").double()
    flat = torch.randn(16, 3).double() @ torch.randn(3, conv.weight[0].numel()).double()
    conv.weight.data.copy_(flat.reshape(conv.weight.shape))
    found = factorise(nn.Sequential(conv, nn.ReLU()), energy=1.0)
    x = torch.randn(2, 8, *[7] * axes).double()
    torch.testing.assert_close(found.module(x), torch.relu(conv(x)))
    assert found.module[0][0].out_channels == 3
    assert count_params(found.module) < count_params(conv)


def test_energy_chooses_the_least_rank_that_keeps_it() -> None:
    layer = nn.Linear(20, 20, bias=False)
    values = torch.tensor([4.0, 3.0, 1.0] + [0.0] * 17)
    layer.weight.data.copy_(torch.linalg.qr(torch.randn(20, 20))[0] @ values.diag())
    ranks = [factorise(layer, energy=share).module[0].out_features for share in (0.5, 0.9, 0.97)]
    assert ranks == [1, 2, 3]  # 16, 25 and 26 of 26


def test_what_would_not_shrink_stays_and_bad_input_is_refused() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.Conv2d(4, 4, 3, groups=2), nn.Linear(30, 30))
    found = factorise(network, rank=2)
    assert found.changed == ("2",)
    assert "no smaller" in found.left["0"]
    assert "groups" in found.left["1"]
    for options, told in [
        ({}, "exactly one of rank and energy"),
        ({"rank": 0}, "rank = 0 cannot be"),
        ({"energy": 1.5}, "energy = 1.5 is no share"),
        ({"rank": {"9": 1}}, "named 9; known: 0, 1, 2"),
        ({"rank": 1, "names": ["head*"]}, "named head"),
    ]:
        with pytest.raises(NasplatError, match=told):
            factorise(network, **options)  # type: ignore[arg-type]


def test_one_step_is_algorithm_1_of_the_paper() -> None:
    torch.manual_seed(0)
    net = DynamicalLowRank(nn.Linear(6, 5, bias=False).double(), 2)
    x, y, lr = torch.randn(9, 6).double(), torch.randn(9, 5).double(), 0.1
    u, s, v = (tensor.detach().clone() for tensor in (net.left, net.core, net.right))

    def slope(weight: torch.Tensor) -> torch.Tensor:
        return 2 * (x @ weight.T - y).T @ x / y.numel()

    whole = slope(u @ s @ v.T)
    k, l = u @ s - lr * whole @ v, v @ s.T - lr * whole.T @ u  # noqa: E741  # the letters of the paper
    left, right = torch.linalg.qr(torch.cat([k, u], 1))[0], torch.linalg.qr(torch.cat([l, v], 1))[0]
    core = left.T @ u @ s @ v.T @ right
    core = core - lr * left.T @ slope(left @ core @ right.T) @ right
    a, values, b = torch.linalg.svd(core)
    expected = left @ a[:, :2] @ values[:2].diag() @ b[:2] @ right.T
    DlrtStep(net, lr=lr, theta=None).step(lambda: F.mse_loss(net(x), y))
    torch.testing.assert_close(net.weight.detach(), expected)
    torch.testing.assert_close(net.left.T @ net.left, torch.eye(2).double())


def test_low_rank_training_finds_the_rank_of_a_regression() -> None:
    torch.manual_seed(0)
    matrix = torch.linalg.qr(torch.randn(20, 3))[0] @ torch.linalg.qr(torch.randn(15, 3))[0].T
    x = torch.randn(200, 15)
    net = low_rank_network(nn.Linear(15, 20, bias=False), 15)
    step = DlrtStep(net, lr=3.0, theta=0.02)
    for _ in range(60):
        step.step(lambda: F.mse_loss(net(x), x @ matrix.T))
    assert net.rank == 3
    assert float((net.weight - matrix).detach().norm() / matrix.norm()) < 1e-3


@pytest.mark.parametrize("layer", [nn.Linear(6, 5), nn.Conv2d(3, 4, 3, stride=2, padding=1)])
def test_a_low_rank_layer_equals_its_weight_and_its_plain_form(layer: nn.Module) -> None:
    net = DynamicalLowRank(layer, 3)
    x = torch.randn(2, 6) if isinstance(layer, nn.Linear) else torch.randn(2, 3, 8, 8)
    same = copy.deepcopy(layer)
    same.weight.data.copy_(net.weight)
    torch.testing.assert_close(net(x), same(x))
    torch.testing.assert_close(net.plain()(x), same(x))


def test_on_digits_low_rank_training_keeps_the_accuracy_of_full_rank_with_far_lower_ranks() -> None:
    data = digits(seed=0)

    def network() -> nn.Module:
        torch.manual_seed(0)
        layers = [nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 10)]
        return nn.Sequential(nn.Flatten(), *layers)

    def trained(net: nn.Module, theta: float | None) -> nn.Module:
        source = torch.Generator().manual_seed(0)
        rest = [p for n, p in net.named_parameters() if n.split(".")[-1] not in ("left", "core", "right")]
        others = torch.optim.SGD(rest, 0.3)
        step = DlrtStep(net, lr=0.3, theta=theta, others=others) if theta is not None else None
        for _ in range(10):
            for x, y in batches(data.train, 64, generator=source):
                if step is not None:
                    step.step(lambda x=x, y=y: F.cross_entropy(net(x), y))
                    continue
                others.zero_grad()
                F.cross_entropy(net(x), y).backward()
                others.step()
        return net

    full = evaluate(trained(network(), None), data.validation, data.task)
    low = trained(low_rank_network(network(), 48, ["1", "3"]), 0.15)
    assert all(low[place].rank <= 24 for place in (1, 3))
    assert evaluate(low, data.validation, data.task) > full - 0.03
    assert full > 0.85


def test_a_passthrough_starts_as_the_identity_and_is_a_diagonal_and_a_low_rank_matrix() -> None:
    layer, x = LowRankPassthrough(7, 2), torch.randn(4, 7)
    torch.testing.assert_close(layer(x), x)
    for tensor in layer.parameters():
        tensor.data.normal_()
    matrix = torch.eye(7) + layer.diagonal.diag() + layer.wide.weight @ layer.narrow.weight
    torch.testing.assert_close(layer(x), x @ matrix.T + layer.wide.bias)


def test_bad_ranks_and_steps_are_refused_in_one_line() -> None:
    with pytest.raises(NasplatError, match="rank = 9 does not fit"):
        DynamicalLowRank(nn.Linear(4, 5), 9)
    with pytest.raises(NasplatError, match="cannot be low-rank"):
        DynamicalLowRank(nn.Conv2d(4, 4, 3, groups=2), 1)
    with pytest.raises(NasplatError, match="has no low-rank layers"):
        DlrtStep(nn.Linear(2, 2), lr=0.1)
    with pytest.raises(NasplatError, match="theta = 1"):
        DlrtStep(DynamicalLowRank(nn.Linear(2, 2), 1), lr=0.1, theta=1)
    with pytest.raises(NasplatError, match="lr = 0"):
        DlrtStep(DynamicalLowRank(nn.Linear(2, 2), 1), lr=0)
    with pytest.raises(NasplatError, match="no linear layer"):
        low_rank_network(nn.ReLU(), 2)
    with pytest.raises(NasplatError, match="rank = 8 does not fit width 7"):
        LowRankPassthrough(7, 8)


@pytest.mark.parametrize(
    "compressed",
    [lambda net: factorise(net, rank=7).module, lambda net: quantise(net, torch.randn(2, 3, 8))],
    ids=["factors", "int8"],
)
def test_transformer_encoders_run_with_other_layers_in_them(compressed: Callable[..., nn.Module]) -> None:
    torch.manual_seed(0)
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 64, batch_first=True), 1).eval()
    x, padding = torch.randn(2, 3, 8), torch.tensor([[False, False, True], [False, False, False]])
    smaller = compressed(encoder)
    encoder.use_nested_tensor = False
    with torch.no_grad():
        change = smaller(x, src_key_padding_mask=padding) - encoder(x, src_key_padding_mask=padding)
    assert 0 < float(change[~padding].abs().max()) < 0.5


def test_layers_that_share_a_weight_stay_whole() -> None:
    first, twin = nn.Linear(4, 4), nn.Linear(4, 4)
    twin.weight = first.weight
    found = low_rank_network(nn.ModuleList([first, first, twin, nn.Linear(4, 4)]), 2)
    assert [type(layer) for layer in found] == [nn.Linear] * 3 + [DynamicalLowRank]  # type: ignore[arg-type]
    assert found[0] is found[1]  # type: ignore[index]
