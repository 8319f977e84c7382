"""The metanetworks that nasplat ships: what they take, what they refuse, what their cards say."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch
from torch import nn

from nasplat.errors import DataError
from nasplat.networks import resnet, vgg11_bn, vgg16_bn
from nasplat.prune import plan_pruning
from nasplat.prune.meta import PRUNERS, Pruner

ROOT = Path(__file__).resolve().parents[3]
RESNETS, VGGS, AT_ONCE = "prune_cifar_resnets", "prune_vggs", "prune_cifar_resnets_at_once"
EXAMPLE = torch.zeros(2, 1, 16, 16)


def thin_resnet(depth: int, width: int) -> nn.Module:
    torch.manual_seed(0)
    return resnet(depth, widths=(width, 2 * width, 4 * width), channels=1)


def thin_vgg(depth: int, width: int) -> nn.Module:
    torch.manual_seed(0)
    make = {11: vgg11_bn, 16: vgg16_bn}[depth]
    return make(widths=(width, 2 * width, 3 * width, 4 * width, 4 * width), channels=1)


def test_all_are_found_by_name() -> None:
    assert {RESNETS, VGGS, AT_ONCE} <= {place.name for place in PRUNERS.shipped()}


@pytest.mark.parametrize("name", [RESNETS, VGGS, AT_ONCE])
def test_the_card_says_what_was_learned_which_epoch_was_kept_and_how_to_make_it_again(name: str) -> None:
    card = Pruner.load(name).card
    assert card.value == max(epoch.value for epoch in card.epochs)
    assert card.networks >= 4
    assert card.held_out >= 1
    assert "training images" in card.data
    assert "validation images" in card.judged_by
    program, script, asked = card.command.split()
    assert (program, asked) == ("python", name)
    assert (ROOT / script).is_file()


@pytest.mark.parametrize("name", [RESNETS, VGGS, AT_ONCE])
def test_the_command_of_the_card_knows_its_name_and_rate_at_the_commit_of_the_card(name: str) -> None:
    card = Pruner.load(name).card
    asked = ["git", "-C", str(ROOT), "show", f"{card.commit}:{card.command.split()[1]}"]
    found = subprocess.run(asked, capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip("this checkout has not the history of the card")
    script = next(line for line in found.stdout.splitlines() if f'"{name}":' in line)
    rates = {0.001: "MetaSettings(epochs=20, drops", 0.003: "rate=3e-3"}
    assert rates[card.settings.rate] in (found.stdout if "CUT" in script else script)


@pytest.mark.parametrize(
    ("name", "network"),
    [
        (RESNETS, thin_resnet(14, 8)),
        (RESNETS, thin_resnet(32, 5)),
        (VGGS, thin_vgg(11, 12)),
        (VGGS, thin_vgg(16, 16)),
    ],
    ids=["resnet14", "resnet32", "vgg11", "vgg16"],
)
def test_other_widths_and_depths_are_rewritten_and_planned(name: str, network: nn.Module) -> None:
    pruner = Pruner.load(name)
    before, after = network.state_dict(), pruner.rewrite(network, EXAMPLE).state_dict()
    assert [*before] == [*after]
    assert all(tensor.isfinite().all() for tensor in after.values())
    assert not torch.equal(
        before["fc.weight" if name == RESNETS else "classifier.weight"], [*after.values()][-2]
    )
    plan = plan_pruning(network, EXAMPLE, pruner, speedup=2.0)
    assert 1.9 < plan.macs[0] / plan.macs[1] < 2.2


def test_a_network_of_the_other_family_and_one_that_is_far_larger_are_refused() -> None:
    with pytest.raises(DataError, match="has conv 1x1, sum"):
        Pruner.load(VGGS).rewrite(thin_resnet(14, 8), EXAMPLE)
    with pytest.raises(DataError, match="the networks that were learned from have"):
        Pruner.load(RESNETS).rewrite(thin_resnet(110, 16), EXAMPLE)
