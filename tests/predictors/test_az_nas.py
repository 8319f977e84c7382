"""The components of AZ-NAS against principal components by numpy and the explicit Jacobian of a block."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import jacobian

from nasplat.conformance import check_score
from nasplat.plugins import load
from nasplat.scoring import Evidence, ScoreResult, Undefined, block_maps, component_entropies, entropy, score

NAMES = ("az_expressivity", "az_progressivity", "az_trainability", "az_complexity")
IMAGES, LABELS = torch.zeros(6, 3, 8, 8), torch.zeros(6, dtype=torch.long)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = []
    for narrow, wide, stride in ((3, 8, 1), (8, 8, 1), (8, 12, 2)):
        layers += [nn.Conv2d(narrow, wide, 3, stride, padding=1), nn.BatchNorm2d(wide), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 4))


def judge(model: nn.Module) -> dict[str, ScoreResult]:
    return score(model, IMAGES, LABELS, NAMES)


def entropy_by_numpy(features: Tensor) -> float:
    points = features.detach().permute(0, 2, 3, 1).flatten(0, 2).double().numpy()
    singular = np.linalg.svd(points - points.mean(0), compute_uv=False)
    shares = singular**2 / (singular**2).sum()
    return -sum(p * math.log(p + 1e-8) for p in shares)


def test_expressivity_and_progressivity_are_entropies_of_principal_components() -> None:
    net = network().train()
    torch.manual_seed(0)  # the engine's default
    maps = block_maps(net, IMAGES)
    entropies = [entropy_by_numpy(features) for features in maps.values()]
    growth = [after - before for before, after in pairwise(entropies)]
    results = judge(network())
    assert list(results["az_expressivity"].per_module) == ["0", "3", "6"]
    assert results["az_expressivity"].value == pytest.approx(sum(entropies), rel=1e-5)
    assert list(results["az_expressivity"].per_module.values()) == pytest.approx(entropies, rel=1e-5)
    assert results["az_progressivity"].value == pytest.approx(min(growth), abs=1e-4)
    assert list(results["az_progressivity"].per_module.values()) == pytest.approx(growth, abs=1e-4)


def test_the_entropies_are_computed_once_for_both_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    whole = entropy.component_entropy
    monkeypatch.setattr(entropy, "component_entropy", lambda n, f: (asked.append(n), whole(n, f))[1])
    judge(network())
    assert asked == ["0", "3", "6"]


def test_entropy_counts_the_directions_of_equal_variance() -> None:
    signs = torch.tensor([[1.0, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]])
    maps = signs.reshape(1, 3, 2, 2)
    assert component_entropies({"a": maps})["a"] == pytest.approx(math.log(3), abs=1e-6)
    assert component_entropies({"a": 2 + torch.cat([maps, maps], 1)})["a"] == pytest.approx(
        math.log(3), abs=1e-6
    )


def test_a_constant_map_has_no_entropy() -> None:
    with pytest.raises(Undefined, match="the output of a has a variance of"):
        component_entropies({"a": torch.full((2, 3, 4, 4), 0.1)})


def trainability(*maps: Tensor) -> float:
    """The score of these maps, named by their places, with random signs of seed 5."""
    evidence = Evidence(
        nn.Identity(), IMAGES, LABELS, {"block_maps": {str(i): m for i, m in enumerate(maps)}}
    )
    torch.manual_seed(5)
    return float(load("predictors", "az_trainability").function(evidence)[0])


def patch_rows(grad: np.ndarray, factor: int) -> np.ndarray:
    """(n, c, h, w) -> one row of c * factor^2 numbers for each patch, by loops."""
    n, _, h, w = grad.shape
    places = [(i, y, x) for i in range(n) for y in range(0, h, factor) for x in range(0, w, factor)]
    return np.array([grad[i, :, y : y + factor, x : x + factor].ravel() for i, y, x in places])


@pytest.mark.parametrize(("channels", "stride"), [(3, 1), (5, 1), (4, 2)])
def test_trainability_is_that_of_the_explicit_jacobian(channels: int, stride: int) -> None:
    torch.manual_seed(1)
    conv = nn.Conv2d(3, channels, 3, stride, padding=1)
    block = nn.Sequential(conv, nn.BatchNorm2d(channels, track_running_stats=False), nn.Tanh()).double()
    x = torch.randn(2, 3, 4, 4, dtype=torch.double, requires_grad=True)
    y = block(x)
    torch.manual_seed(5)
    signs = torch.randint_like(y, 2) * 2 - 1
    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    rows = jacobian(block, x.detach()).reshape(y.numel(), x.numel())
    g_in = (rows.T @ signs.flatten()).reshape(x.shape).detach().numpy()
    matrix = patch_rows(g_in, stride).T @ patch_rows(signs.numpy(), 1) / (y.numel() / channels)
    s = np.linalg.svd(matrix, compute_uv=False)[0]
    assert trainability(x, y) == pytest.approx(2 - s - 1 / (s + 1e-6), rel=1e-9)


def test_trainability_is_the_mean_over_blocks_and_best_for_isometries() -> None:
    x = torch.randn(64, 2, 8, 8, requires_grad=True)
    turned = torch.stack([-x[:, 1], x[:, 0]], 1)
    halved = turned / 2
    assert trainability(x, turned) == pytest.approx(0, abs=0.01)
    assert trainability(x, turned, halved) == pytest.approx((0 + 2 - 0.5 - 2) / 2, abs=0.05)


def test_blocks_that_are_the_identity_or_let_nothing_pass_are_named() -> None:
    x = torch.randn(2, 3, 5, 5, requires_grad=True)
    for after, reason in (
        (x * 1, "the block 1 is the identity"),
        (torch.zeros_like(x), "no gradient passes through the block 1"),
        (x[..., :3, :3] * 2, "the block 1 turns maps of 5 x 5 to 3 x 3: no whole factor"),
    ):
        with pytest.raises(Undefined, match=reason):
            trainability(x, after)


def test_complexity_is_the_multiply_adds() -> None:
    net = network()
    assert judge(net)["az_complexity"].value == score(net, IMAGES, LABELS, ["macs"])["macs"].value
    assert judge(net)["az_complexity"].value == 64 * 9 * 3 * 8 + 64 * 9 * 8 * 8 + 16 * 9 * 8 * 12 + 12 * 4


def test_a_component_alone_equals_itself_beside_other_scores() -> None:
    together = score(network(), IMAGES, LABELS, ["nwot", "jacov", *NAMES])
    for name in NAMES:
        alone = score(network(), IMAGES, LABELS, [name])[name]
        assert (alone.value, alone.per_module) == (together[name].value, together[name].per_module)


def test_weights_that_take_no_gradients_do_not_matter() -> None:
    frozen = network().requires_grad_(False)
    assert judge(frozen)["az_trainability"].value == judge(network())["az_trainability"].value


def test_a_network_without_maps_is_not_judged() -> None:
    results = judge(nn.Sequential(nn.Flatten(), nn.Linear(192, 4)))
    assert [r.status for r in results.values()] == ["not_applicable"] * 3 + ["ok"]


@pytest.mark.parametrize("name", NAMES)
def test_every_promise_is_kept(name: str) -> None:
    assert check_score(load("predictors", name)) == []
