"""Sparse linear layers give what masked ones give, and are measured beside them."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from nasplat.errors import NasplatError
from nasplat.measure import Repeats
from nasplat.prune.sparse import measure_formats, plan_masks, sparse_linear

SHORT = Repeats(minimum=2, warmup_s=0.0, budget_s=0.01)


@pytest.mark.parametrize("shape", [(8,), (1, 8), (2, 5, 8)])
@pytest.mark.parametrize("bias", [True, False])
def test_compressed_rows_compute_what_the_dense_layer_does(shape: tuple[int, ...], bias: bool) -> None:
    layer = nn.Linear(8, 6, bias=bias)
    masked, x = plan_masks(layer, 0.3).apply(layer), torch.randn(shape)
    sparse = sparse_linear(masked)
    torch.testing.assert_close(sparse(x), masked(x))
    torch.testing.assert_close(copy.deepcopy(sparse)(x), masked(x))
    assert "14 of 48 weights" in repr(sparse)


def test_all_forms_are_measured_and_the_network_stays_as_it_is() -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(16, 3)).train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    found = measure_formats(net, plan_masks(net, 0.2), torch.randn(2, 1, 4, 4), repeats=SHORT)
    assert list(found) == ["dense", "masked", "csr"]
    assert all(result.protocol["batch"] == 2 for result in found.values())
    assert net.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_a_network_of_convolutions_has_no_sparse_form() -> None:
    net = nn.Conv2d(1, 4, 3)
    assert list(measure_formats(net, plan_masks(net, 0.5), torch.randn(1, 1, 4, 4), repeats=SHORT)) == [
        "dense",
        "masked",
    ]
    with pytest.raises(NasplatError, match="torch has no sparse convolution"):
        sparse_linear(net)


def test_a_transformer_encoder_runs_with_compressed_rows() -> None:
    torch.manual_seed(0)
    encoder, x = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval(), torch.randn(2, 3, 8)
    masked = plan_masks(encoder, 0.3).apply(encoder)
    with torch.no_grad():
        torch.testing.assert_close(sparse_linear(masked)(x), masked(x))
