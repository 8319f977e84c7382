"""Metanetworks that judge what is left, step by step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nasplat.errors import InvalidStudy
from nasplat.prune import PruneSettings, prunable
from nasplat.prune.meta.data_models import data_model
from nasplat.prune.meta.family import Family
from nasplat.prune.setaware import Body, Card, Fitting, SetAware, SetAwareNetwork, Walks
from nasplat.prune.setaware.training import Epoch
from nasplat.study.pruning import Delivery, Finetuning, PruneOrder, metanet, plan_model
from nasplat.study.pruning.model import load_subject

from .nets import Small

Order = Callable[..., PruneOrder]
Deliver = Callable[..., Delivery]


@pytest.fixture
def judge(place: Path) -> Path:
    """The folder of a set-aware metanetwork for networks like `Small`, whose weights are still random."""
    torch.manual_seed(0)
    graph = data_model(Small(), torch.zeros(2, 1, 6, 6)).graph
    body = Body(width=4, layers=1, grid=5, taylor=False)
    epochs = (Epoch(1, 0.0, 0.0, 0.0),)
    family = Family.of([graph], 2.0)
    card = Card(body, Walks(), Fitting(), family, "stripes", 1, 1, 1, 1, epochs, "make it")
    SetAware(SetAwareNetwork(body).eval(), card).save(place / "judge")
    return place / "judge"


def test_a_set_aware_metanetwork_is_asked_step_by_step_where_a_size_is_wanted(
    order: Order, judge: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    stepwise = metanet.stepwise

    def noted(*given: object) -> object:
        asked.append(1)
        return stepwise(*given)  # type: ignore[arg-type]

    monkeypatch.setattr("nasplat.study.pruning.plan.stepwise", noted)
    plan = plan_model(order(metanet=str(judge)))
    assert plan.macs is not None
    assert plan.macs[1] * 2 <= plan.macs[0]
    assert (plan.score, len(asked)) == (f"metanetwork {judge}", 1)
    kept = plan_model(order(metanet=str(judge), settings=PruneSettings(keep=("conv1",), batch=2)))
    plan_model(order(metanet=str(judge), settings=PruneSettings(ranking="layer", batch=2)))
    assert len(asked) == 1, "what steps cannot heed is planned at once"
    assert {group.name: group.after for group in kept.groups}["conv1"] == 8


def test_a_number_of_parameters_is_kept_step_by_step(order: Order, judge: Path) -> None:
    network = prunable(load_subject("nets.py:small").module, torch.zeros(2, 1, 6, 6))
    limit = 0.6 * network.params(network.everything)
    plan = plan_model(order(metanet=str(judge), target={"max_params": limit}))
    assert plan.params is not None
    assert plan.params[1] <= limit


def test_a_metanetwork_that_judges_rewrites_nothing(order: Order, judge: Path) -> None:
    with pytest.raises(InvalidStudy, match="leave out --rewrite"):
        plan_model(order(metanet=str(judge), finetuning=Finetuning(1, before=1)))
