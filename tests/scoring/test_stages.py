"""Stages of the shared passes that fail, and what they leave behind."""

from __future__ import annotations

import gc
import math
import weakref
from collections import Counter
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.errors import NasplatError
from nasplat.scoring import Evidence, Score, score
from nasplat.scoring.passes import Passes

IMAGES = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(5))
LABELS = torch.tensor([0, 1, 2, 0, 3, 1])


def network() -> nn.Module:
    """A multilayer perceptron with ReLU."""
    torch.manual_seed(2)
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 40), nn.ReLU(), nn.Linear(40, 4))


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
    found = score(network(), IMAGES, labels, ["snip", "epe_nas", "jacov"])
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
    found = score(network(), IMAGES, LABELS, [Score("nosy", *contract), "snip"])["nosy"]
    assert found.status == "failed"
    assert "name it in the score's `shares`" in found.reason
    with pytest.raises(NasplatError, match="shares \\['walk'\\]; known are macs, outputs"):
        score(network(), IMAGES, LABELS, [Score("nosy", *contract, shares=frozenset({"walk"}))])


def test_the_time_of_a_stage_is_divided_among_those_who_use_it() -> None:
    asked = [frozenset({"relu_kernels"}), frozenset({"weight_gradients", "gate_gradients"}), frozenset[str]()]
    passes = Passes({}, Counter(forward=2, loss=1), {"forward": 3.0, "loss": 5.0})
    assert [passes.seconds(shares) for shares in asked] == [1.5, 6.5, 0.0]


def test_nothing_of_the_graph_outlives_the_call() -> None:
    outputs = []

    class Spy(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            result = super().forward(x)
            outputs.append(weakref.ref(result))
            return result

    net = nn.Sequential(nn.Flatten(), Spy(192, 40), nn.ReLU(), nn.Linear(40, 4))
    gc.disable()  # cycles would stay
    try:
        score(net, IMAGES, LABELS, ["jacov", "fisher", "grasp", "nwot"])
        assert outputs
        assert all(output() is None for output in outputs)
    finally:
        gc.enable()
