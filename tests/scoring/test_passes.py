"""Shared passes: a score is the same alone and in company, and a pass that fails stops nobody else."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from nasplat.errors import NasplatError
from nasplat.scoring import Evidence, Score, ScoreResult, score, weighted_layers
from nasplat.scoring.passes import Passes

LAYERED = [
    "params",
    "macs",
    "l2_norm",
    "grad_norm",
    "plain",
    "snip",
    "grasp",
    "fisher",
    "jacov",
    "epe_nas",
    "synflow",
]
NAMES = [*LAYERED, "nwot"]


class Residual(nn.Module):
    """Batch norms, functional ReLUs in place, additions in place onto the output of a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.left, self.right = nn.Conv2d(6, 6, 3, padding=1, groups=2), nn.Conv2d(6, 6, 1)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)), inplace=True)
        y = self.left(x)
        y += self.right(x)
        return self.head(F.relu_(y).mean((2, 3)))


class Branching(nn.Module):
    """Does not trace: its forward branches on values. One layer runs twice, one never, one drops out."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.twice = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1)
        self.never, self.head = nn.Conv2d(4, 4, 1), nn.Linear(4, 4)
        self.drop = nn.Dropout(0.3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for _ in range(2 if x.abs().sum() >= 0 else 1):
            x = self.drop(F.relu(self.twice(x)))
        return self.head(x.mean((2, 3)))


class Transformer(nn.Module):
    """Patches, attention, layer norms and GELU; no convolution but the first, and no ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.body = nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", batch_first=True)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.patches(x).flatten(2).transpose(1, 2)).mean(1))


def plain() -> nn.Module:
    """Convolutions, batch norm, pooling and ReLU layers, one in place right behind a convolution."""
    return nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1),
        nn.BatchNorm2d(5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(5, 6, 3),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(24, 4),
    )


def linear() -> nn.Module:
    """Linear layers only, as in a multilayer perceptron."""
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 10), nn.Tanh(), nn.Linear(10, 4))


class Doubled(nn.Module):
    """A parametrization: twice the parameter."""

    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


def parametrized() -> nn.Module:
    """A linear layer whose weight is computed from a parameter."""
    net = linear()
    parametrize.register_parametrization(net.get_submodule("1"), "weight", Doubled())
    return net


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "plain": plain,
    "residual": Residual,
    "branching": Branching,
    "transformer": Transformer,
    "linear": linear,
    "parametrized": parametrized,
}

IMAGES = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(5))
LABELS = torch.tensor([0, 1, 2, 0, 3, 1])


def network(name: str) -> nn.Module:
    """A network with weights from a fixed seed."""
    torch.manual_seed(2)
    return NETWORKS[name]()


@cache
def together(name: str) -> dict[str, ScoreResult]:
    """All scores of a network in one call."""
    return score(network(name), IMAGES, LABELS, NAMES, seed=4)


def answer(result: ScoreResult) -> tuple[object, ...]:
    """Everything but the time; NaN equals NaN."""
    value = "none" if math.isnan(result.value) else result.value
    return value, result.per_module, result.status, result.reason


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", NETWORKS)
def test_a_score_is_bit_equal_alone_and_in_shared_passes(kind: str, name: str) -> None:
    alone = score(network(kind), IMAGES, LABELS, [name], seed=4)[name]
    assert answer(alone) == answer(together(kind)[name])


@pytest.mark.parametrize("kind", NETWORKS)
def test_scores_of_any_classifier_are_finite_or_say_why_not(kind: str) -> None:
    silent = {name: result.reason for name, result in together(kind).items() if result.status != "ok"}
    expected = {
        name: {"nwot": "the network has no ReLU"} for name in ("transformer", "linear", "parametrized")
    }
    expected["branching"] = {
        "macs": "the network branches on values: what it computes is not decided by shapes"
    }
    assert silent == expected.get(kind, {})


@pytest.mark.parametrize("kind", NETWORKS)
def test_all_scores_of_layers_name_the_same_layers_in_the_order_of_modules(kind: str) -> None:
    expected, found = list(weighted_layers(network(kind))), together(kind)
    answers = [name for name in LAYERED if found[name].status == "ok"]
    assert len(answers) >= len(LAYERED) - 1
    assert {name: list(found[name].per_module) for name in answers} == dict.fromkeys(answers, expected)


def test_a_layer_that_never_runs_counts_nothing_where_gradients_count() -> None:
    found = together("branching")
    for name in ("grad_norm", "plain", "snip", "grasp", "fisher", "jacov", "epe_nas"):
        assert found[name].per_module["never"] == 0


def test_the_seed_decides_what_drops_out() -> None:
    values = [score(network("branching"), IMAGES, LABELS, ["snip"], seed=s)["snip"].value for s in (4, 4, 5)]
    assert values[0] == values[1] != values[2]


def test_scores_work_under_no_grad_in_inference_mode_and_with_frozen_weights() -> None:
    net = network("plain").requires_grad_(False)
    with torch.inference_mode():
        frozen = score(net, IMAGES, LABELS, ["snip", "jacov"], seed=4)
    assert {n: answer(r) for n, r in frozen.items()} == {n: answer(together("plain")[n]) for n in frozen}
    assert not any(p.requires_grad for p in net.parameters())


class OneWay(torch.autograd.Function):
    """The identity, whose gradient has no gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad.clone()


class Stubborn(nn.Module):
    """Fails where it is told to."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where, self.layer, self.head = where, nn.Linear(192, 50), nn.Linear(50, 4)

    def forward(self, x: Tensor) -> Any:
        if self.where == "forward":
            raise RuntimeError("no memory")
        x = self.layer(x.flatten(1))
        x = self.head(F.relu(OneWay.apply(x) if self.where == "curvature" else x))
        return {"logits": x} if self.where == "outputs" else x


@pytest.mark.parametrize(
    ("where", "failing", "reason"),
    [
        ("nowhere", set(), ""),
        ("curvature", {"grasp"}, "an operator is once differentiable"),
        (
            "outputs",
            {"snip", "fisher", "grasp", "jacov", "epe_nas"},
            "the network returns a dict, not one tensor",
        ),
        ("forward", {"snip", "fisher", "grasp", "jacov", "epe_nas", "nwot"}, "no memory"),
    ],
)
def test_a_stage_that_fails_stops_only_the_scores_that_need_it(
    where: str, failing: set[str], reason: str
) -> None:
    names = ["snip", "fisher", "grasp", "jacov", "epe_nas", "nwot", "l2_norm"]
    found = score(Stubborn(where), IMAGES, LABELS, names)
    assert {name for name, result in found.items() if result.status != "ok"} == failing
    for name in failing:
        assert reason in found[name].reason
        assert math.isnan(found[name].value)


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (torch.full((6,), 4), "the labels are no classes 0 to 3"),
        (torch.rand(6), "the labels are no classes 0 to 3"),
        (torch.zeros(6, 2, dtype=torch.long), "not a classifier: outputs (6, 4) and labels (6, 2)"),
    ],
)
def test_labels_that_are_no_classes_make_label_scores_not_applicable(labels: Tensor, reason: str) -> None:
    found = score(network("linear"), IMAGES, labels, ["snip", "epe_nas", "jacov"])
    assert [found[name].status for name in found] == ["not_applicable", "not_applicable", "ok"]
    assert reason in found["snip"].reason
    assert reason in found["epe_nas"].reason


def test_tokens_have_no_jacobian_but_gradients() -> None:
    net = nn.Sequential(nn.Embedding(7, 5), nn.Flatten(), nn.Linear(15, 4))
    found = score(net, torch.arange(18).reshape(6, 3) % 7, LABELS, ["jacov", "snip"])
    assert (found["jacov"].status, found["snip"].status) == ("not_applicable", "ok")
    assert found["jacov"].reason == "inputs of type torch.int64 have no gradient"


def test_a_layer_whose_outputs_are_not_by_image_has_no_fisher_score_and_spoils_no_other() -> None:
    class Folded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pixels, self.head = nn.Linear(3, 2), nn.Linear(128, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.pixels(x.permute(0, 2, 3, 1).reshape(-1, 3)).reshape(len(x), -1))

    found = score(Folded(), IMAGES, LABELS, ["fisher", "snip", "jacov"])
    assert (found["fisher"].status, found["snip"].status) == ("not_applicable", "ok")
    assert (
        found["fisher"].reason == "pixels gives a tensor of shape (384, 2), its first axis is not the batch"
    )
    assert found["jacov"].per_module == {"pixels": 0.0, "head": 0.0}


def test_weights_made_anew_at_each_call_are_told() -> None:
    class Made(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            del self._parameters["weight"]
            self.weight = nn.Parameter(torch.ones(4, 192))
            return super().forward(x)

    found = score(nn.Sequential(nn.Flatten(), Made(192, 4)), IMAGES, LABELS, ["snip"])["snip"]
    assert found.status == "not_applicable"
    assert found.reason == "1 makes its weight anew at each call: it has no gradient of its own"


def test_a_score_reads_only_the_passes_that_it_names() -> None:
    def nosy(evidence: Evidence) -> tuple[float, dict[str, float]]:
        return float(len(evidence.weight_gradients)), {}

    contract = ("maximize", frozenset({"grad"}), "none", "our own", nosy)
    found = score(network("plain"), IMAGES, LABELS, [Score("nosy", *contract), "snip"])["nosy"]
    assert found.status == "failed"
    assert "name it in the score's `shares`" in found.reason
    with pytest.raises(NasplatError, match="shares \\['walk'\\]; known are outputs, relu_kernels"):
        score(network("plain"), IMAGES, LABELS, [Score("nosy", *contract, shares=frozenset({"walk"}))])


def test_the_time_of_a_stage_is_divided_among_those_who_use_it() -> None:
    asked = [frozenset({"relu_kernels"}), frozenset({"weight_gradients", "gate_gradients"}), frozenset[str]()]
    passes = Passes({}, Counter(forward=2, loss=1), {"forward": 3.0, "loss": 5.0})
    assert [passes.seconds(shares) for shares in asked] == [1.5, 6.5, 0.0]
