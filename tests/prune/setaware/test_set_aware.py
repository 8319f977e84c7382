"""The trained object: files, refusals, scores and proposals."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nasplat.channels import channel_spec
from nasplat.errors import DataError, NasplatError
from nasplat.prune import plan_pruning, prunable
from nasplat.prune.meta.family import Family
from nasplat.prune.setaware import (
    Body,
    Card,
    Fitting,
    Lesson,
    SetAware,
    Steps,
    Units,
    Walks,
    fit,
    follow,
    rises_of,
)
from nasplat.prune.trials import Trials

from .tiny import BODY, EXAMPLE, FITTING, WALKS, lessons, loss, losses, model, residual


@cache
def trained(taylor: bool = True) -> SetAware:
    *own, other = lessons()
    body = Body(width=BODY.width, layers=BODY.layers, taylor=taylor)
    found = fit(body, own, [other], FITTING)
    family = Family.of([lesson.model.graph for lesson in own], 2.0)
    card = Card(
        body, WALKS, FITTING, family, "noise", 2, 1, 12, found.chosen.number, found.epochs, "make it",
        figures={"correlation": 0.5},
    )  # fmt: skip
    return SetAware(found.network, card)


def test_a_folder_gives_back_what_was_saved(tmp_path: Path) -> None:
    trained().save(tmp_path / "one")
    found = SetAware.load("one", tmp_path)
    assert found.card == trained().card
    network = residual(5, 7)
    torch.testing.assert_close(
        found.importance(network, EXAMPLE, loss=loss),
        trained().importance(network, EXAMPLE, loss=loss),
        rtol=0,
        atol=0,
    )


def test_damaged_and_missing_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NasplatError, match="no set-aware metanetwork"):
        SetAware.load("nothing", tmp_path)
    trained().save(tmp_path)
    page = json.loads((tmp_path / "set_aware.json").read_text())
    (tmp_path / "set_aware.json").write_text(json.dumps({**page, "body": {"width": "wide"}}))
    with pytest.raises(NasplatError, match="no set-aware metanetwork"):
        SetAware.load(tmp_path)
    trained().save(tmp_path)
    (tmp_path / "weights.safetensors").write_bytes(b"other")
    with pytest.raises(NasplatError, match="not the file"):
        SetAware.load(tmp_path)


def test_a_network_of_another_family_is_refused() -> None:
    with pytest.raises(DataError, match="learned from networks of"):
        trained().importance(
            nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)), torch.zeros(2, 4), loss=loss
        )
    with pytest.raises(DataError, match="neurons"):
        trained().importance(residual(64), EXAMPLE, loss=loss)


def test_one_that_reads_a_backward_pass_asks_for_losses() -> None:
    with pytest.raises(NasplatError, match="give `loss`"):
        trained().importance(residual(), EXAMPLE)
    assert trained(False).importance(residual(), EXAMPLE).dtype == torch.float64


def test_channels_that_are_gone_are_worth_nothing() -> None:
    spec = channel_spec(residual(), EXAMPLE)
    units = Units.of(spec)
    kept = units.without(units.whole(), 0)
    found = trained(False).importance(residual(), EXAMPLE, kept)
    assert not found[units.members[0]].any()
    assert bool((found[units.members[1]] > 0).all())
    with pytest.raises(NasplatError, match="bool"):
        trained(False).importance(residual(), EXAMPLE, kept[:3])


def test_a_proposal_meets_its_cost_and_can_be_applied() -> None:
    network = residual(5, 3)
    free = prunable(network, EXAMPLE)
    limit = free.macs(free.everything) / 2
    kept = trained().propose(network, EXAMPLE, free.macs, limit, loss=loss)
    assert free.macs(kept) <= limit
    small = free.plan(kept).apply(network)
    assert small(EXAMPLE).shape == (2, 3)
    np.testing.assert_array_equal(kept, trained().propose(network, EXAMPLE, free.macs, limit, loss=loss))


def test_units_that_are_tried_are_worth_what_they_are() -> None:
    """With all units tried a metanetwork has nothing to say: one that reads a backward pass agrees with another."""
    network = residual(5, 3)
    free = prunable(network, EXAMPLE)
    limit = free.macs(free.everything) / 2
    steps = Steps(3, tried=1000)
    first, second = (
        one.propose(network, EXAMPLE, free.macs, limit, loss=loss, steps=steps)
        for one in (trained(), trained(False))
    )
    np.testing.assert_array_equal(first, second)


def test_it_is_a_score_of_a_plan() -> None:
    plan = plan_pruning(residual(5, 3), EXAMPLE, trained(False), speedup=1.5)
    assert plan.macs[1] <= plan.macs[0] / 1.5


def test_nothing_of_the_network_changes() -> None:
    network = residual().train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    trained().importance(network, EXAMPLE, loss=loss)
    assert network.training
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_it_learns_on_from_the_masks_that_it_comes_to() -> None:
    one = model(5, 3)
    masks = follow(trained(), one, losses(), Walks(steps=4, candidates=6, least=0.5), 0)
    units = Units.of(one.spec)
    assert bool(masks.kept[0].all())
    assert bool((masks.kept.sum(1).diff() < 0).all())
    trials = Trials(one.module, one.spec, loss, "batch")
    for kept, rises in zip(masks.kept.numpy(), masks.rises.numpy(), strict=True):
        looked = np.flatnonzero(np.isfinite(rises))
        assert len(looked) == 6
        np.testing.assert_allclose(rises_of(trials, units, kept, looked), rises, atol=1e-6)
    own = [Lesson.of(one, masks)]
    found = fit(trained().card.body, own, own, Fitting(epochs=1, rate=0.0), start=trained().network)
    for name, tensor in trained().network.state_dict().items():
        torch.testing.assert_close(found.network.state_dict()[name], tensor, rtol=0, atol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_network_on_a_gpu_is_judged_as_on_the_cpu() -> None:
    here, there = (
        trained().importance(residual().to(device), EXAMPLE.to(device), loss=loss)
        for device in ("cpu", "cuda")
    )
    torch.testing.assert_close(here, there, atol=1e-3, rtol=1e-3)
