"""Rewriting of the architectures that tracing is tested on, and cutting of what was rebuilt."""

from __future__ import annotations

import pytest
import torch

from nasplat.channels import channel_spec
from nasplat.compress import Rewritten, equalise, fold_norms, fuse_branches, reconstruct
from nasplat.networks import resnet
from nasplat.prune import plan_pruning

from ..channels.architectures import ALL
from .blocks import lived_in

SOME = (
    "resnet8", "mobilenet_v3", "efficientnet", "shufflenet_v2", "densenet", "resnext", "unet", "temporal",
    "depthwise_then_grouped", "self_concat", "called_twice", "layer_scale", "mixture", "hand_written_cell",
)  # fmt: skip


@pytest.mark.parametrize("name", SOME)
def test_exact_rewritings_change_no_output(name: str) -> None:
    torch.manual_seed(0)
    network = lived_in(ALL[name].network()).double()
    example = [one.double() if one.is_floating_point() else one for one in ALL[name].example()]
    folded = fold_norms(network, example).module
    forms: list[Rewritten] = [fuse_branches(network, example), equalise(folded, example)]
    with torch.no_grad():
        wanted = network(*example)
        for module in (folded, *(form.module for form in forms)):
            torch.testing.assert_close(module(*example), wanted, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("data", [True, False])
def test_a_plan_cuts_a_rebuilt_network_without_changing_what_it_computes(data: bool) -> None:
    torch.manual_seed(0)
    network, x = lived_in(resnet(8, channels=1, widths=(4, 8, 8))).double(), torch.randn(8, 1, 8, 8).double()
    spec = channel_spec(network, x)
    plan = plan_pruning(network, x, "l1", speedup=2.0)
    rebuilt = reconstruct(network, x, plan.kept(spec), batches=[x] if data else None)
    with torch.no_grad():
        small, plain = plan.apply(rebuilt.module), plan.apply(network)
        torch.testing.assert_close(small(x), rebuilt.module(x), rtol=1e-8, atol=1e-8)
        assert float((small(x) - plain(x)).norm()) > 1e-3
        if data:
            assert float((small(x) - network(x)).norm()) < float((plain(x) - network(x)).norm())
