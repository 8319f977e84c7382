"""The engine: scores leave no trace, and their failures are results."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from nasplat.errors import NasplatError
from nasplat.scoring import Evidence, NotApplicable, Score, Undefined, batch_digest, score, weighted_layers

IMAGES, LABELS = torch.randn(4, 2, 5, 5), torch.tensor([0, 1, 2, 0])


def network() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(27, 3))


def named(function: Callable[..., tuple[float, dict[str, float]]], name: str = "own") -> Score:
    return Score(name, "maximize", frozenset({"data"}), "nothing", "none", function)


def destructive(evidence: Evidence) -> tuple[float, dict[str, float]]:
    model = evidence.copy()
    model(evidence.images).sum().backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    torch.rand(100)
    return 1.0, {"all": 1.0}


def test_a_destructive_score_leaves_weights_modes_gradients_and_random_state() -> None:
    net = network()
    net[1].eval()
    net[0].weight.grad = torch.ones_like(net[0].weight)
    weights, grad, state = copy.deepcopy(net.state_dict()), net[0].weight.grad, torch.get_rng_state()
    with torch.no_grad():
        result = score(net, IMAGES, LABELS, [named(destructive), "synflow", "nwot"])
        assert not torch.is_grad_enabled()
    assert [r.status for r in result.values()] == ["ok"] * 3
    assert net.training
    assert not net[1].training
    assert net[0].weight.grad is grad
    assert net[4].weight.grad is None
    assert torch.equal(grad, torch.ones_like(grad))
    assert torch.equal(torch.get_rng_state(), state)
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, weights[name])


def test_a_score_sees_training_mode_and_a_seeded_random_state() -> None:
    def draw(evidence: Evidence) -> tuple[float, dict[str, float]]:
        assert all(part.training for part in evidence.copy().modules())
        return float(torch.rand(())), {}

    drawn = [score(network().eval(), IMAGES, LABELS, [named(draw)], seed=s)["own"].value for s in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (NotApplicable("no such layer"), "not_applicable", "no such layer"),
        (Undefined("dead"), "failed", "dead"),
        (RuntimeError("two\nlines"), "failed", "RuntimeError: two lines"),
    ],
)
def test_a_score_that_raises_gives_its_reason_and_the_next_one_runs(
    error: Exception, status: str, reason: str
) -> None:
    def fail(*_: object) -> tuple[float, dict[str, float]]:
        raise error

    results = score(network(), IMAGES, LABELS, [named(fail), named(destructive, "next")])
    assert results["own"].status == status
    assert results["own"].reason == reason
    assert math.isnan(results["own"].value)
    assert results["next"].status == "ok"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_no_value(value: float) -> None:
    result = score(network(), IMAGES, LABELS, [named(lambda *_: (value, {}))])["own"]
    assert result.status == "failed"
    assert math.isnan(result.value)
    assert result.reason == f"the value is {value}"


def test_the_origin_names_seed_initialisation_batch_and_torch() -> None:
    result = score(network(), IMAGES, LABELS, ["nwot"], seed=7, init="torch default")["nwot"]
    assert result.origin == {
        "seed": 7,
        "init": "torch default",
        "batch": batch_digest(IMAGES, LABELS),
        "torch": torch.__version__,
    }
    assert result.seconds > 0


def test_the_digest_changes_with_values_shapes_and_types() -> None:
    other = IMAGES.clone()
    other[0, 0, 0, 0] += 1e-6
    digests = {
        batch_digest(IMAGES, LABELS),
        batch_digest(other, LABELS),
        batch_digest(IMAGES.reshape(4, 50), LABELS),
        batch_digest(IMAGES.bfloat16(), LABELS),
        batch_digest(IMAGES, LABELS.flip(0)),
    }
    assert len(digests) == 5


def test_an_unknown_score_lists_the_known_ones() -> None:
    with pytest.raises(NasplatError, match="synflow"):
        score(network(), IMAGES, LABELS, ["synflw"])


def test_a_name_asked_twice_is_refused() -> None:
    with pytest.raises(NasplatError, match="two scores are called 'synflow'"):
        score(network(), IMAGES, LABELS, ["synflow", named(destructive, "synflow")])


def test_a_plug_in_that_is_no_score_is_refused() -> None:
    with pytest.raises(NasplatError, match="'math:pi' is a float, not a score"):
        score(network(), IMAGES, LABELS, ["math:pi"])


def test_weighted_layers_are_convolutions_and_linear_layers_in_order() -> None:
    assert list(weighted_layers(network())) == ["0", "4"]
