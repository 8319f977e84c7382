"""ntk against an explicit Jacobian."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import jacobian
from torch.func import functional_call

from nasplat.conformance import check_score
from nasplat.plugins import load
from nasplat.scoring import Evidence, ScoreResult, score

IMAGES = torch.randn(5, 2, 5, 5, generator=torch.Generator().manual_seed(1), dtype=torch.double)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    parts = (
        nn.Conv2d(2, 3, 3),
        nn.BatchNorm2d(3, track_running_stats=False),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(27, 3),
    )
    net = nn.Sequential(*parts).double()
    nn.init.normal_(net[1].weight)
    return net


def ntk(model: nn.Module, images: Tensor = IMAGES) -> ScoreResult:
    return score(model, images, torch.zeros(len(images), dtype=torch.long), ["ntk"])["ntk"]


def explicit_kernel(net: nn.Module, scales: dict[str, float] | None = None) -> Tensor:
    """J J^T of the sums of logits by the three weights, whose parts may be scaled."""
    net = copy.deepcopy(net).requires_grad_(False)
    weights = {name: p for name, p in net.named_parameters() if name.endswith("weight")}
    assert list(weights) == ["0.weight", "1.weight", "4.weight"]

    def sums(*given: Tensor) -> Tensor:
        return functional_call(net, dict(zip(weights, given, strict=True)), (IMAGES,)).sum(1)

    parts = zip(weights, jacobian(sums, tuple(weights.values())), strict=True)
    rows = {name: part.flatten(1) for name, part in parts}
    return torch.stack([(scales or {}).get(n[0], 1.0) * (r @ r.T) for n, r in rows.items()]).sum(0)


def condition(kernel: Tensor) -> float:
    values = torch.linalg.eigvalsh(kernel)
    return float(values[-1] / values[0])


def test_the_score_is_the_condition_of_the_jacobians_products() -> None:
    assert ntk(network()).value == pytest.approx(condition(explicit_kernel(network())), rel=1e-8)


def test_parts_are_the_relative_change_by_the_modules_kernels() -> None:
    net = network()
    parts, step = ntk(net).per_module, 1e-5
    assert sum(parts.values()) == pytest.approx(0, abs=1e-9)
    for name, part in parts.items():
        up, down = (condition(explicit_kernel(net, {name: 1 + s})) for s in (step, -step))
        assert part == pytest.approx((up - down) / (up + down) / step, rel=1e-4)


def test_sixteen_images_count_unless_told_otherwise() -> None:
    images = torch.randn(20, 2, 5, 5, dtype=torch.double)
    function = load("predictors", "ntk").function
    evidence = Evidence(network(), images, torch.zeros(20, dtype=torch.long))
    assert function(evidence)[0] == ntk(network(), images[:16]).value
    assert partial(function, images=20)(evidence)[0] != function(evidence)[0]


def test_equal_images_make_the_kernel_singular() -> None:
    result = ntk(network(), torch.cat([IMAGES, IMAGES[:1]]))
    assert (result.status, result.reason[:22]) == ("failed", "the kernel is singular")


def test_a_dead_network_has_no_value() -> None:
    net = network()
    nn.init.zeros_(net[4].weight)
    nn.init.constant_(net[1].bias, -9)
    assert ntk(net).reason.startswith("the kernel is singular")


def test_every_promise_is_kept() -> None:
    assert check_score(load("predictors", "ntk")) == []
