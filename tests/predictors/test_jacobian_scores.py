"""jacov and epe_nas against explicit Jacobians, NumPy's correlation and the general eigenvalue solver."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import jacrev

from nasplat.scoring import ScoreResult, score

IMAGES = torch.randn(7, 2, 5, 5, generator=torch.Generator().manual_seed(1)).double()
LABELS = torch.tensor([0, 1, 1, 0, 1, 2, 0])
K = 1e-5


def network(classes: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    body = [
        nn.Conv2d(2, 4, 3),
        nn.BatchNorm2d(4, track_running_stats=False),
        nn.Tanh(),
        nn.Conv2d(4, 3, 2),
        nn.Sigmoid(),
    ]
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(12, classes)).double()


def found(name: str, net: nn.Module, images: Tensor = IMAGES, labels: Tensor = LABELS) -> ScoreResult:
    return score(net, images, labels, [name])[name]


def rows(function: Callable[[Tensor], Tensor], x: Tensor) -> np.ndarray:
    """The Jacobian of the sum of outputs, from that of every output: (n, units)."""
    full = jacrev(function)(x)  # (n, classes, n, ...)
    return full.detach().sum((0, 1)).flatten(1).numpy()


def jacov(j: np.ndarray) -> float:
    values = np.linalg.eig(np.corrcoef(j))[0].real
    return float(-np.sum(np.log(values + K) + 1 / (values + K)))


def test_jacov_is_the_sum_over_eigenvalues_of_the_correlated_jacobian() -> None:
    net = network()
    result = found("jacov", net)
    assert result.value == pytest.approx(jacov(rows(net.train(), IMAGES)), rel=1e-7)
    assert -100 < result.value < -len(IMAGES)


def test_parts_of_jacov_look_at_the_outputs_of_layers() -> None:
    net = network().train()
    parts = found("jacov", net).per_module
    for name, after in {"0": 1, "3": 4}.items():
        output = net[:after](IMAGES).detach()
        assert parts[name] == pytest.approx(jacov(rows(net[after:], output)), rel=1e-6)
    assert parts["6"] == 0.0  # the sum of logits changes by 1 with each logit: nothing to correlate


def epe(j: np.ndarray, labels: Tensor, classes: int) -> float:
    """The published steps, class by class."""
    e = []
    for c in sorted(set(labels.tolist())):
        inside = np.atleast_2d(np.corrcoef(j[labels.numpy() == c]))
        total = sum(math.log(abs(r) + K) for r in inside.flatten())
        e.append(total / len(inside) if classes > 100 else total)
    if classes <= 100:
        return sum(abs(one) for one in e)
    return sum(abs(a - b) for a in e for b in e) / len(e)


@pytest.mark.parametrize("classes", [3, 101])
def test_epe_nas_correlates_within_classes_and_compares_many_classes_in_pairs(classes: int) -> None:
    net = network(classes).train()
    result = found("epe_nas", net)
    assert result.value == pytest.approx(epe(rows(net, IMAGES), LABELS, classes), rel=1e-7)
    output = net[0](IMAGES).detach()
    assert result.per_module["0"] == pytest.approx(epe(rows(net[1:], output), LABELS, classes), rel=1e-7)


def test_a_layer_called_twice_correlates_both_calls_together() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.layer(self.layer(x).tanh()).tanh())

    torch.manual_seed(0)
    net, x = Twice().double(), torch.randn(5, 4).double()
    first = net.layer(x).detach()
    second = net.layer(first.tanh()).detach()
    late = rows(lambda z: net.head(z.tanh()), second)
    early = rows(lambda z: net.head(net.layer(z.tanh()).tanh()), first)
    centred = [j - j.mean(1, keepdims=True) for j in (early, late)]
    covariance = sum(j @ j.T for j in centred)
    scale = np.sqrt(np.diag(covariance))
    values = np.linalg.eigvalsh(covariance / np.outer(scale, scale))
    part = found("jacov", net, x, torch.tensor([0, 1, 0, 1, 0])).per_module["layer"]
    assert part == pytest.approx(-np.sum(np.log(values + K) + 1 / (values + K)), rel=1e-6)


class Dead(nn.Module):
    """Outputs that depend on no pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(50, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.flatten(1) * 0.0)


@pytest.mark.parametrize("name", ["jacov", "epe_nas"])
def test_a_dead_network_has_no_correlation(name: str) -> None:
    result = found(name, Dead(), IMAGES.float())
    assert result.status == "failed"
    assert "dead network" in result.reason
    assert math.isnan(result.value)


def test_equal_answers_to_all_images_are_the_worst_score() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(50, 3)).double()
    n = len(IMAGES)
    worst = -(math.log(n + K) + 1 / (n + K)) - (n - 1) * (math.log(K) + 1 / K)
    assert found("jacov", net).value == pytest.approx(worst, rel=1e-6)


def test_labels_and_their_scale_do_not_matter_to_jacov() -> None:
    net = network()
    assert found("jacov", net).value == found("jacov", net, labels=LABELS.flip(0)).value
    values = [found("jacov", nn.Sequential(net, Scale(c))).value for c in (1.0, 1e-3)]
    assert values[0] == pytest.approx(values[1], rel=1e-6)


class Scale(nn.Module):
    """Multiplies by a constant."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x
