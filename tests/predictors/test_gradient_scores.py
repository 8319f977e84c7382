"""grad_norm, plain, snip, fisher and grasp against masks, gates, explicit Hessians and differences, in doubles."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, jacrev

from nasplat.scoring import ScoreResult, score

IMAGES = torch.randn(5, 2, 6, 6, generator=torch.Generator().manual_seed(1)).double()
LABELS = torch.tensor([0, 2, 1, 0, 2])
Weights = dict[str, Tensor]


def network() -> nn.Sequential:
    """Grouped and plain convolutions, a batch norm, and a classifier; 96 weights."""
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(2, 4, 3, groups=2),
        nn.BatchNorm2d(4, track_running_stats=False),
        nn.Tanh(),
        nn.Conv2d(4, 3, 1, bias=False),
        nn.Softplus(),
    ]
    return nn.Sequential(*layers, nn.AvgPool2d(2), nn.Flatten(), nn.Linear(12, 3)).double()


def weights(net: nn.Module) -> Weights:
    return {name: net.get_parameter(f"{name}.weight").detach() for name in ("0", "3", "7")}


def loss(net: nn.Module, values: Weights) -> Tensor:
    outputs = functional_call(net.train(), {f"{n}.weight": w for n, w in values.items()}, (IMAGES,))
    return F.cross_entropy(cast(Tensor, outputs), LABELS)


def found(name: str) -> ScoreResult:
    return score(network(), IMAGES, LABELS, [name])[name]


def matches(result: ScoreResult, expected: dict[str, Tensor]) -> None:
    parts = {name: float(part.detach()) for name, part in expected.items()}
    assert result.per_module == pytest.approx(parts, rel=1e-9)
    assert result.value == pytest.approx(sum(parts.values()), rel=1e-9)


def test_snip_is_the_size_of_the_gradient_of_masks() -> None:
    net, masks = network(), {name: torch.ones_like(w) for name, w in weights(network()).items()}
    slopes = grad(lambda m: loss(net, {n: w * m[n] for n, w in weights(net).items()}))(masks)
    matches(found("snip"), {name: slope.abs().sum() for name, slope in slopes.items()})


def test_plain_is_the_slope_of_the_loss_as_a_layer_grows() -> None:
    net, ones = network(), {name: torch.ones((), dtype=torch.float64) for name in weights(network())}
    slopes = grad(lambda scale: loss(net, {n: w * scale[n] for n, w in weights(net).items()}))(ones)
    matches(found("plain"), slopes)


@pytest.mark.parametrize(("labels", "sign"), [([0, 1], -1), ([1, 0], 1)])
def test_plain_is_negative_where_larger_weights_lower_the_loss(labels: list[int], sign: int) -> None:
    net = nn.Linear(2, 2, bias=False)
    nn.init.eye_(net.weight)
    value = score(net, torch.eye(2), torch.tensor(labels), ["plain"])["plain"].value
    # dL/dlogit of a right class is -(1 - p)/2 each, p = e/(e + 1); of a wrong one (e/(e + 1))/2
    confidence = math.e / (math.e + 1)
    assert value == pytest.approx(-(1 - confidence) if sign < 0 else confidence, rel=1e-6)


@torch.no_grad()
def test_grad_norm_is_the_sum_of_norms_of_finite_differences() -> None:
    net, norms, step = network(), {}, 1e-6
    for name, weight in weights(net).items():
        slopes = torch.zeros_like(weight).flatten()
        for i in range(len(slopes)):
            move = torch.zeros_like(slopes)
            move[i] = step
            moved = [weights(net) | {name: weight + sign * move.reshape(weight.shape)} for sign in (1, -1)]
            slopes[i] = (float(loss(net, moved[0])) - float(loss(net, moved[1]))) / (2 * step)
        norms[name] = float(slopes.norm())
    assert found("grad_norm").per_module == pytest.approx(norms, rel=1e-6)
    assert found("grad_norm").value == pytest.approx(sum(norms.values()), rel=1e-6)


def test_grasp_is_the_explicit_hessian_of_all_weights_times_the_gradient() -> None:
    net, at = network(), weights(network())
    sizes = [w.numel() for w in at.values()]

    def flat_loss(vector: Tensor) -> Tensor:
        parts = zip(at, vector.split(sizes), strict=True)
        return loss(net, {name: part.reshape(at[name].shape) for name, part in parts})

    vector = torch.cat([w.flatten() for w in at.values()])
    product = -vector * (jacrev(grad(flat_loss))(vector) @ grad(flat_loss)(vector))
    matches(found("grasp"), {name: part.sum() for name, part in zip(at, product.split(sizes), strict=True)})


def test_fisher_sums_halved_squares_of_gate_gradients_image_by_image() -> None:
    net = network()
    channels = {"0": 4, "3": 3, "7": 3}
    gates = {
        n: torch.ones(len(IMAGES), c, dtype=torch.float64, requires_grad=True) for n, c in channels.items()
    }
    for name, gate in gates.items():
        net.get_submodule(name).register_forward_hook(gated(gate))
    F.cross_entropy(net(IMAGES), LABELS).backward()
    expected = {}
    for name, gate in gates.items():
        assert gate.grad is not None
        weights_of_a_channel = net.get_parameter(f"{name}.weight")[0].numel()
        total = torch.zeros((), dtype=torch.float64)
        for image in range(len(IMAGES)):
            for channel in range(channels[name]):
                total += gate.grad[image, channel] ** 2 / (2 * len(IMAGES)) * weights_of_a_channel
        expected[name] = total
    matches(found("fisher"), expected)


def gated(gate: Tensor) -> Callable[[nn.Module, tuple[Tensor], Tensor], Tensor]:
    return lambda module, inputs, output: output * gate.reshape(*gate.shape, *[1] * (output.ndim - 2))


class Overwriting(nn.Module):
    """Adds to and clips the output of a convolution, in place or not."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inplace, self.conv, self.head = inplace, nn.Conv2d(2, 3, 3), nn.Linear(48, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.inplace:
            x += 1
            return self.head(F.relu_(x).flatten(1))
        return self.head(F.relu(x + 1).flatten(1))


def test_fisher_takes_outputs_as_they_left_the_layer_even_if_they_are_overwritten() -> None:
    results = [
        score(Overwriting(kind), IMAGES.float(), LABELS, ["fisher"])["fisher"] for kind in (True, False)
    ]
    assert results[0].value > 0
    assert results[0].per_module == results[1].per_module


def test_fisher_of_tokens_sums_over_tokens_as_that_of_maps_over_pixels() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.project, self.head = nn.Linear(2, 3), nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.project(x.permute(0, 2, 3, 1)).tanh().mean((1, 2)))

    tokens = Tokens()
    maps = nn.Sequential(nn.Conv2d(2, 3, 1), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), tokens.head)
    maps.load_state_dict(
        {"0.weight": tokens.project.weight[..., None, None], "0.bias": tokens.project.bias}, strict=False
    )
    pair = [score(net, IMAGES.float(), LABELS, ["fisher"])["fisher"] for net in (tokens, maps)]
    assert list(pair[0].per_module.values()) == pytest.approx(list(pair[1].per_module.values()), rel=1e-5)


def test_a_layer_that_is_called_twice_has_one_gate() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.gate = nn.Linear(3, 3), torch.ones(2, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.gate * self.layer((self.gate * self.layer(x)).tanh())

    torch.manual_seed(0)
    net, x, y = Twice(), torch.randn(2, 3), torch.tensor([0, 2])
    result = score(net, x, y, ["fisher"])["fisher"]
    net.gate.requires_grad_()
    F.cross_entropy(net(x), y).backward()
    assert net.gate.grad is not None
    assert result.value == pytest.approx(float(net.gate.grad.square().sum() / 4 * 3), rel=1e-5)


@pytest.mark.parametrize("name", ["grad_norm", "plain", "snip", "fisher", "grasp"])
def test_a_dead_network_counts_nothing(name: str) -> None:
    class Dead(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(2, 3, 6)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x).flatten(1) * 0.0

    for net in (
        Dead(),
        nn.Sequential(nn.Flatten(), nn.Hardtanh(1e9, 2e9), nn.Unflatten(1, (2, 6, 6)), Dead()),
    ):
        result = score(net, IMAGES.float(), LABELS, [name])[name]
        assert (result.status, result.value) == ("ok", 0.0)


def test_directions_are_those_of_the_published_correlations() -> None:
    from nasplat.plugins import load

    directions = {
        name: load("predictors", name).direction for name in ("plain", "snip", "grasp", "fisher", "grad_norm")
    }
    assert directions.pop("plain") == "minimize"
    assert set(directions.values()) == {"maximize"}
