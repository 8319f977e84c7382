"""synflow against closed forms: products of absolute weights, and conservation of flow."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.scoring import ScoreResult, score

LABELS = torch.zeros(2, dtype=torch.long)


def synflow(model: nn.Module, *shape: int) -> ScoreResult:
    return score(model, torch.randn(2, *shape), LABELS, ["synflow"])["synflow"]


def test_a_linear_chain_scores_the_product_of_its_absolute_weights_in_every_layer() -> None:
    net = nn.Sequential(
        nn.Linear(4, 6, bias=False), nn.ReLU(), nn.Linear(6, 5, bias=False), nn.Linear(5, 3, bias=False)
    )
    product = torch.ones(4, 1, dtype=torch.float64)
    for layer in (net[0], net[2], net[3]):
        product = layer.weight.detach().double().abs() @ product
    result = synflow(net, 4)
    assert result.per_module == pytest.approx(dict.fromkeys(("0", "2", "3"), float(product.sum())))
    assert result.value == pytest.approx(math.log(3 * float(product.sum())))


def test_biases_carry_flow_but_do_not_count() -> None:
    net = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    for layer, weight, bias in ((net[0], -2.0, 3.0), (net[1], 5.0, -7.0)):
        nn.init.constant_(layer.weight, weight)
        nn.init.constant_(layer.bias, bias)
    # R = 5 (2 + 3) + 7; w dR/dw = 2 * 5 for the first layer and 5 * (2 + 3) for the second
    assert synflow(net, 1).per_module == {"0": 10.0, "1": 25.0}


class Normed(nn.Module):
    """One convolution, a norm as a layer or as a function, and a classifier."""

    def __init__(self, norm: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head = nn.Conv2d(2, 3, 3, bias=False), nn.Linear(3, 2, bias=False)
        self.batch_norm = nn.BatchNorm2d(3)
        nn.init.uniform_(self.batch_norm.weight, 3, 4)
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.norm == "layer":
            x = self.batch_norm(x)
        elif self.norm == "function":
            x = F.batch_norm(x, None, None, self.batch_norm.weight, self.batch_norm.bias, training=True)
        return self.head(F.relu(x).mean((2, 3)))


@pytest.mark.parametrize("norm", ["layer", "function"])
def test_batch_norms_are_bypassed_wherever_they_are(norm: str) -> None:
    assert synflow(Normed(norm), 2, 3, 3).per_module == synflow(Normed("none"), 2, 3, 3).per_module


def test_weights_made_from_parameters_count_like_plain_ones() -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))
    made = copy.deepcopy(plain)
    nn.utils.parametrizations.weight_norm(made.get_submodule("0"))
    found = synflow(made, 2, 4, 4)
    assert found.per_module == pytest.approx(synflow(plain, 2, 4, 4).per_module)
    assert found.per_module["0"] > 0


def test_values_beyond_single_precision_are_kept_by_their_logarithm() -> None:
    net = nn.Sequential(*[nn.Linear(100, 100, bias=False) for _ in range(20)])
    for layer in net:
        nn.init.constant_(layer.weight, -10.0)
    assert synflow(net, 100).value == pytest.approx(math.log(20) + math.log(100) + 20 * math.log(1000))


def test_signs_dropout_and_a_forgotten_no_grad_change_nothing() -> None:
    net = nn.Sequential(nn.Linear(5, 5), nn.Dropout(0.5), nn.Linear(5, 2))
    value = synflow(net, 5).value
    for parameter in net.parameters():
        parameter.requires_grad_(False).neg_()
    with torch.no_grad():
        assert synflow(net, 5).value == value


def test_a_dead_network_has_no_value_and_says_why() -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    nn.init.zeros_(net[1].weight)
    result = synflow(net, 3)
    assert result.status == "failed"
    assert math.isnan(result.value)
    assert "dead network" in result.reason


def test_an_unused_layer_gets_no_flow() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x)

    assert synflow(Half(), 2).per_module["unused"] == 0.0


def test_networks_it_cannot_score_are_told_apart() -> None:
    class Integers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(5, 3), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.table(x).mean(1))

    for net, reason in (
        (nn.ReLU(), "no convolution or linear layer"),
        (Integers(), "does not run on one double"),
    ):
        result = synflow(net, 3)
        assert result.status == "not_applicable"
        assert reason in result.reason
