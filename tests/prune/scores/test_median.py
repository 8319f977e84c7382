"""Distances between filters: by hand, and against torch-pruning."""

from __future__ import annotations

import torch
import torch_pruning as tp
from torch import nn

from nasplat.prune.scores import FPGM

from .networks import evidence, theirs, traced


def test_distances_are_summed_over_all_other_filters_of_both_layers() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)).double()
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[0, 0], [3, 4], [0, 4]]))  # sides 5, 3 and 4
        network[2].weight.copy_(torch.tensor([[1, -1, 0]]))
    found = FPGM(normaliser="none")(traced(network, torch.randn(4, 2).double()))
    assert found[2:5].tolist() == [5 + 4 + 2 + 1, 5 + 3 + 2 + 1, 3 + 4 + 1 + 1]


def test_a_copy_of_another_filter_matters_least() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2)).double()
    with torch.no_grad():
        network[0].weight.normal_(generator=torch.Generator().manual_seed(0))
        network[0].weight[2] = network[0].weight[:2].mean(0)
        network[3].weight.fill_(1)
    found = FPGM()(traced(network, torch.randn(1, 1, 3, 3).double()))
    assert int(found[1:5].argmin()) == 2


def test_distances_are_those_of_torch_pruning_where_it_takes_weights_themselves() -> None:
    """It takes distances between powers of absolute weights: the same for positive weights to the power of one."""
    for name in ("resnet8", "vgg11"):
        one = evidence(name, single=True)
        for tensor in one.module.parameters():
            tensor.data.abs_()
        found = FPGM("mean", "none")(one)
        for channels, expected in theirs(one, tp.importance.FPGMImportance(1, "mean", None)):
            torch.testing.assert_close(found[channels], expected, rtol=1e-4, atol=1e-4)
