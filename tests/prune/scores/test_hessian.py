"""Second-order scores: closed forms, the full Hessian, and torch-pruning's Fisher."""

from __future__ import annotations

import pytest
import torch
import torch_pruning as tp
from torch import nn

from nasplat.errors import NasplatError
from nasplat.prune.scores import Evidence, Hessian

from .networks import classified, evidence, theirs, traced


def test_a_diagonal_hessian_is_exact_with_one_draw() -> None:
    network = nn.Sequential(nn.Linear(2, 3, bias=False), nn.Linear(3, 1, bias=False)).double()
    bends = [torch.rand(3, 2).double() - 0.5, torch.rand(1, 3).double() - 0.5]

    def loss(module):
        yield sum((h * layer.weight**2).sum() / 2 for h, layer in zip(bends, module, strict=True))

    one = traced(network, torch.randn(4, 2).double(), loss=loss)
    first, second = ((h * layer.weight.detach() ** 2 / 2) for h, layer in zip(bends, network, strict=True))
    torch.testing.assert_close(Hessian("hutchinson", samples=1)(one)[2:5], first.sum(1) + second.sum(0))


def test_draws_lie_around_the_diagonal_of_the_full_hessian_as_far_as_their_variance_says() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2, bias=False)).double()
    generator = torch.Generator().manual_seed(0)
    for tensor in network.parameters():
        tensor.data.normal_(generator=generator)
    x = torch.randn(8, 2, generator=generator).double()

    def of(flat: torch.Tensor) -> torch.Tensor:
        out = torch.tanh(x @ flat[:6].reshape(3, 2).T + network[0].bias) @ flat[6:].reshape(2, 3).T
        return nn.functional.cross_entropy(out, torch.arange(8) % 2)

    w = torch.cat([network[0].weight.detach().flatten(), network[2].weight.detach().flatten()])
    h = torch.autograd.functional.hessian(of, w)
    belongs = torch.zeros(3, 12, dtype=torch.float64)  # which weights are of which hidden channel
    for channel in range(3):
        belongs[channel, [2 * channel, 2 * channel + 1, 6 + channel, 9 + channel]] = 1
    expected = belongs @ (h.diagonal() * w**2 / 2)
    # z_i (H z)_i = h_ii + sum over j != i of h_ij z_i z_j, whose products of signs are uncorrelated but for i, j = j, i
    bent = belongs[:, :, None] * (h - h.diagonal().diag()) * (w**2 / 2)[:, None]
    deviation = ((bent + bent.mT) ** 2).sum((1, 2)).div(2).sqrt()
    draws = 400
    found = Hessian("hutchinson", samples=draws)(traced(network, x, loss=classified((x,), 1)))[2:5]
    assert bool(((found - expected).abs() < 3 * deviation / draws**0.5).all())
    assert bool((3 * deviation / draws**0.5 < expected.abs().max()).all())


def test_the_fisher_of_one_batch_is_that_of_torch_pruning_halved() -> None:
    one = evidence("vgg11", single=True)
    losses = classified(one.example, 1)
    theirs_of = tp.importance.GroupHessianImportance("mean", None)
    one.module.zero_grad()
    next(iter(losses(one.module))).backward()
    theirs_of.accumulate_grad(one.module)
    found = Hessian("fisher", 1, "mean", "none")(Evidence(one.module, one.example, one.spec, losses))
    for channels, expected in theirs(one, theirs_of):
        torch.testing.assert_close(2 * found[channels], expected, rtol=1e-4, atol=1e-7)


def test_a_piecewise_linear_loss_has_no_bend() -> None:
    network = nn.Linear(2, 3).double()
    one = traced(
        network, torch.ones(1, 2).double(), loss=lambda module: [module(torch.ones(1, 2).double()).sum()]
    )
    assert bool((Hessian("hutchinson")(one) == 0).all())


def test_an_unknown_estimate_is_told() -> None:
    with pytest.raises(NasplatError, match="no estimate 'fischer' of a Hessian; did you mean 'fisher'"):
        Hessian("fischer")
