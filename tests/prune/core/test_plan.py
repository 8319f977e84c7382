"""A plan is data: it is written, read, applied to other networks of its form, and says what it removes."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from nasplat.networks import resnet
from nasplat.prune import Plan, channel_masks, load_plan, masked, plan_pruning

from ...channels.architectures import ALL
from .conftest import prepared, random_kept
from .reference import outputs

SOME = ("resnext", "densenet", "multihead_vit", "decoder", "lstm", "temporal")


def planned(name: str, seed: int = 0) -> Plan:
    return prepared(name).plan(random_kept(prepared(name), seed), score="random", target="none")


@pytest.mark.parametrize("name", SOME)
def test_a_plan_comes_back_from_its_file(name: str, tmp_path: Path) -> None:
    plan = planned(name)
    plan.save(tmp_path / "plan.json")
    back = load_plan(tmp_path / "plan.json")
    assert back == plan
    assert repr(back) == repr(plan)
    assert not back.diff(plan)
    json.loads((tmp_path / "plan.json").read_text(), parse_constant=pytest.fail)  # strict JSON, no NaN


@pytest.mark.parametrize("name", SOME)
def test_a_plan_from_a_file_makes_a_fresh_network_that_loads_the_weights_strictly(
    name: str, tmp_path: Path
) -> None:
    network = prepared(name)
    small = planned(name).apply(network.module)
    planned(name).save(tmp_path / "plan.json")
    fresh = load_plan(tmp_path / "plan.json").apply(ALL[name].network(seed=7))
    assert not torch.equal(outputs(fresh, network.examples), outputs(small, network.examples))
    fresh.load_state_dict(small.state_dict(), strict=True)
    torch.testing.assert_close(outputs(fresh, network.examples), outputs(small, network.examples))


def facts(module: nn.Module) -> dict[str, dict[str, Any]]:
    """All that a module keeps beside tensors and submodules."""
    return {
        name: {key: value for key, value in vars(part).items() if not key.startswith("_")}
        for name, part in module.named_modules()
    }


@pytest.mark.parametrize("name", SOME)
def test_the_original_stays_as_it_was(name: str) -> None:
    module, example = ALL[name].network().train(), ALL[name].example()
    tensors = dict(module.state_dict(keep_vars=True))
    state, kept = copy.deepcopy(module.state_dict()), copy.deepcopy(facts(module))
    small = plan_pruning(module, example, "l2", keep_ratio=0.5).apply(module)
    assert facts(module) == kept
    assert all(module.state_dict(keep_vars=True)[key] is tensor for key, tensor in tensors.items())
    assert all(torch.equal(tensor, state[key]) for key, tensor in module.state_dict().items())
    own = {tensor.untyped_storage().data_ptr() for tensor in module.state_dict().values() if tensor.numel()}
    theirs = {tensor.untyped_storage().data_ptr() for tensor in small.state_dict().values() if tensor.numel()}
    assert own.isdisjoint(theirs)


def test_what_shares_a_weight_shares_it_still_and_what_is_frozen_stays_so() -> None:
    module = ALL["decoder"].network()
    module.wpe.weight.requires_grad_(False)
    small = plan_pruning(module, ALL["decoder"].example(), "l2", keep_ratio=0.5).apply(module)
    assert small.lm_head.weight is small.wte.weight
    assert not small.wpe.weight.requires_grad
    assert small.wte.weight.requires_grad


@pytest.mark.parametrize("name", SOME)
def test_masks_are_false_exactly_where_the_masked_network_is_zero(name: str) -> None:
    network = prepared(name)
    plan = planned(name)
    kept, masks = plan.kept(network.spec), plan.masks(network.module)
    zeroed = dict(masked(network.module, network.spec, kept).named_parameters())
    for key, tensor in network.module.named_parameters():
        assert tensor.all()  # nothing was zero before
        assert torch.equal(masks[key] if key in masks else torch.ones_like(tensor).bool(), zeroed[key] != 0)
    by_channel = channel_masks(network.spec, kept)
    assert all(torch.equal(mask, by_channel[key]) for key, mask in masks.items())


@pytest.mark.parametrize("name", SOME)
def test_what_masks_leave_is_what_the_smaller_network_holds(name: str) -> None:
    network, plan = prepared(name), planned(name)
    small = dict(plan.apply(network.module).named_parameters())
    for key, mask in plan.masks(network.module).items():
        whole = dict(network.module.named_parameters())[key]
        assert torch.equal(whole[mask], small[key].flatten())


def test_a_pruned_network_can_be_pruned_again() -> None:
    module, x = resnet(8, widths=(8, 8, 8), classes=5).eval(), torch.randn(2, 3, 8, 8)
    first = plan_pruning(module, x, "l2", speedup=1.5)
    small = first.apply(module)
    second = plan_pruning(small, x, "l2", speedup=1.5)
    assert second.macs[0] == first.macs[1]
    assert second.apply(small)(x).shape == (2, 5)
    assert {name: pair[1] for name, pair in first.diff(second).items()} == {
        group.name: group.after for group in second.groups if group.name in first.diff(second)
    }


def test_a_table_says_widths_reasons_and_sizes() -> None:
    plan = planned("lenet")
    table = repr(plan)
    for group in plan.groups:
        assert group.name in table
    assert "conv2" in table
    assert plan.frozen["conv2"] in table
    assert f"{plan.macs[0]:,} -> {plan.macs[1]:,}" in table


def test_a_picture_has_a_bar_for_every_group(tmp_path: Path) -> None:
    plan = planned("resnet8")
    figure = plan.picture(tmp_path / "plan.png")
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == [g.name for g in plan.groups]
    after = [bar.get_width() for bar in figure.axes[0].containers[1]]
    assert after == [group.after for group in plan.groups]
    assert (tmp_path / "plan.png").stat().st_size > 0
