"""Trained metanetworks by name, as scores of channels."""

from __future__ import annotations

import pytest
import torch

from nasplat.errors import NasplatError
from nasplat.networks import resnet, vgg11_bn
from nasplat.prune import plan_pruning
from nasplat.prune.metanets import load_metanet

EXAMPLE = torch.zeros(1, 1, 14, 14)


def test_a_shipped_metanetwork_scores_channels_by_its_name() -> None:
    torch.manual_seed(0)
    network = resnet(14, widths=(8, 16, 32), channels=1)
    named = plan_pruning(network, EXAMPLE, "metanet:prune_cifar_resnets", speedup=2.0)
    given = plan_pruning(network, EXAMPLE, load_metanet("prune_cifar_resnets"), speedup=2.0)
    plain = plan_pruning(network, EXAMPLE, "l2", speedup=2.0)
    assert named.groups == given.groups
    assert named.groups != plain.groups, "it says something else than the weights alone"


def test_a_network_of_another_family_is_refused_in_one_line() -> None:
    network = vgg11_bn(widths=(8, 8, 8, 8, 8), channels=1)
    with pytest.raises(NasplatError, match="learned from") as told:
        plan_pruning(network, torch.zeros(1, 1, 32, 32), "metanet:prune_cifar_resnets", speedup=2.0)
    assert "\n" not in str(told.value)


def test_an_unknown_metanetwork_is_told_with_those_that_ship() -> None:
    with pytest.raises(
        NasplatError, match=r"no metanetwork 'prune_cifar'.*did you mean 'prune_cifar_resnets'"
    ):
        plan_pruning(resnet(8, channels=1), EXAMPLE, "metanet:prune_cifar", speedup=2.0)
