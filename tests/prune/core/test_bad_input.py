"""What cannot be planned or applied is told in one plain line, and nothing is changed."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nasplat.errors import NasplatError
from nasplat.prune import PruneSettings, load_plan, plan_pruning, prunable

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def refused(act: Callable[[], object]) -> str:
    """The one line of an error."""
    with pytest.raises(NasplatError) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


TARGETS: dict[str, tuple[dict[str, Any], str]] = {
    "none": ({}, "one target, not none"),
    "two": ({"speedup": 2.0, "max_params": 100}, "one target, not speedup and max_params"),
    "slower": ({"speedup": 0.5}, "speedup = 0.5: expected 1 or more"),
    "negative": ({"max_macs": -1}, "max_macs = -1: expected a number above 0"),
    "not_a_number": ({"max_params": float("nan")}, "max_params = nan: expected a number above 0"),
    "words": ({"speedup": "fast"}, "speedup = fast: expected a number above 0"),
    "more_than_all": ({"keep_ratio": 1.5}, "keep_ratio = 1.5: expected a share"),
    "unknown_group": ({"keep_ratio": {"9": 0.5}}, "'9', which is no group"),
    "out_of_reach": ({"speedup": 1e6}, "the least that can be reached is"),
    "too_few": ({"max_params": 1}, "the least that can be reached is"),
}


@pytest.mark.parametrize("case", TARGETS)
def test_a_target_that_makes_no_sense_is_one_line(case: str, convnet: nn.Module) -> None:
    target, line = TARGETS[case]
    assert line in refused(lambda: plan_pruning(convnet, X, **target))


SETTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "ranking": ({"ranking": "globl"}, "did you mean 'global'?"),
    "round_to": ({"round_to": 0}, "round_to = 0"),
    "min_width": ({"min_width": 0}, "min_width = 0"),
    "min_share": ({"min_share": 2}, "min_share = 2"),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_a_setting_that_makes_no_sense_is_one_line(case: str) -> None:
    values, line = SETTINGS[case]
    assert line in refused(lambda: PruneSettings(**values))


def test_a_name_that_keep_does_not_find_is_one_line(convnet: nn.Module) -> None:
    settings = PruneSettings(keep=("classifier",))
    assert "'classifier'" in refused(lambda: plan_pruning(convnet, X, speedup=2.0, settings=settings))


SCORES: dict[str, tuple[Any, str]] = {
    "unknown": ("l3", "unknown score 'l3'"),
    "wrong_length": (torch.ones(3), "importances came as (3,); give one number for each of 28 channels"),
    "not_a_number": (torch.full((28,), float("nan")), "importances are no numbers"),
    "data_is_missing": ("taylor", "give `loss`"),
}


@pytest.mark.parametrize("case", SCORES)
def test_a_score_that_cannot_be_used_is_one_line(case: str, convnet: nn.Module) -> None:
    score, line = SCORES[case]
    assert line in refused(lambda: plan_pruning(convnet, X, score, speedup=2.0))


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) if x.sum() > 0 else x


def test_a_module_that_does_not_trace_is_refused_with_its_line() -> None:
    line = refused(lambda: plan_pruning(Branches(), torch.ones(2, 4), speedup=2.0))
    assert line.startswith("Branches cannot be traced at test_bad_input.py:")


class Locked(nn.Linear):
    """What cannot be copied."""

    def __init__(self) -> None:
        super().__init__(4, 4)
        self.lock = threading.Lock()


WRAPPED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "spread": (lambda: nn.DataParallel(nn.Linear(4, 4)), "DataParallel spreads a network over devices; give"),
    "locked": (Locked, "Locked cannot be copied: cannot pickle '_thread.lock' object; remove"),
}


@pytest.mark.parametrize("case", WRAPPED)
def test_a_network_that_cannot_be_copied_is_one_line(case: str) -> None:
    make, line = WRAPPED[case]
    assert line in refused(lambda: prunable(make(), torch.ones(2, 4)))


def test_a_target_that_frozen_groups_keep_out_of_reach_names_one_with_its_reason(convnet: nn.Module) -> None:
    settings = PruneSettings(keep=("0", "3"))
    line = refused(lambda: plan_pruning(convnet, X, speedup=2.0, settings=settings))
    assert line.endswith("(0 stays whole: it was asked to stay, and 1 others)")


def test_an_example_that_does_not_fit_is_one_line(convnet: nn.Module) -> None:
    assert "\n" not in refused(lambda: plan_pruning(convnet, torch.ones(2, 4, 8, 8), speedup=2.0))


def test_channels_that_are_none_are_one_line(convnet: nn.Module) -> None:
    network = prunable(convnet, X)
    assert "one bool for each of the 28 channels" in refused(lambda: network.plan(np.ones(3, dtype=bool)))


OTHERS: dict[str, Callable[[nn.Sequential], nn.Module]] = {
    "narrower": lambda net: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)),
    "other_names": lambda net: nn.ModuleDict({"body": net}),
    "pruned_already": lambda net: plan_pruning(net, X, keep_ratio=0.5).apply(net),
    "one_layer_wider": lambda net: nn.Sequential(*net[:-1], nn.Linear(200, 5)),
}


@pytest.mark.parametrize("case", OTHERS)
def test_a_plan_for_another_network_is_refused_and_changes_nothing(case: str, convnet: nn.Sequential) -> None:
    plan, other = plan_pruning(convnet, X, keep_ratio=0.5), OTHERS[case](convnet)
    before = copy.deepcopy(other.state_dict())
    line = refused(lambda: plan.apply(other))
    assert "give a network of the form that was planned" in line
    assert all(torch.equal(tensor, before[key]) for key, tensor in other.state_dict().items())


def damaged(entry: dict[str, Any], how: str) -> str:
    if how == "cut_short":
        return json.dumps(entry)[:100]
    if how == "no_object":
        return "[1, 2]"
    if how == "other_kind":
        entry["kind"] = "nasplat study"
    if how == "no_cuts":
        del entry["cuts"]
    if how == "words_for_places":
        entry["cuts"]["0.weight"][0]["keep"] = [["first"]]
    if how == "a_place_that_is_none":
        entry["cuts"]["0.weight"][0]["keep"] = [[0, 99]]
    if how == "a_negative_place":
        entry["cuts"]["0.weight"][0]["keep"] = [[-1, 2]]
    if how == "an_attribute_of_no_module":
        entry["attributes"]["17"] = {"in_channels": 3}
    return json.dumps(entry)


@pytest.mark.parametrize(
    "how",
    [
        "cut_short",
        "no_object",
        "other_kind",
        "no_cuts",
        "words_for_places",
        "a_place_that_is_none",
        "a_negative_place",
        "an_attribute_of_no_module",
    ],
)
def test_a_damaged_plan_is_one_line(how: str, convnet: nn.Module, tmp_path: Path) -> None:
    """When it is read, or when it is applied."""
    plan = plan_pruning(convnet, X, keep_ratio=0.5)
    (tmp_path / "plan.json").write_text(damaged(plan.as_json(), how))
    refused(lambda: load_plan(tmp_path / "plan.json").apply(convnet))


def test_a_plan_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    assert "plan.json cannot be read" in refused(lambda: load_plan(tmp_path / "plan.json"))


def test_what_is_refused_leaves_the_module_and_its_mode(convnet: nn.Module) -> None:
    before = copy.deepcopy(convnet.state_dict())
    convnet.train()
    convnet[1].eval()
    refused(lambda: plan_pruning(convnet, X, speedup=1e6))
    assert convnet.training
    assert not convnet[1].training
    assert all(torch.equal(tensor, before[key]) for key, tensor in convnet.state_dict().items())
    assert all(p.grad is None for p in convnet.parameters())
