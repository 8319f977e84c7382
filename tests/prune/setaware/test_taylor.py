"""Features of a backward pass against gates that are differentiated one by one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.prune.setaware import Units, taylor_features

from .tiny import images, loss, model


def gated(module: nn.Sequential, gates: Tensor) -> Tensor:
    """Losses of examples (n,) with gates (n, 4) on the stream: behind the stem's norm and behind the block's last."""
    inputs, labels = images()
    block = module[3]
    x = torch.relu(module[1](module[0](inputs)) * gates[:, :, None, None])
    y = torch.relu(block.depth(torch.relu(block.bn1(block.conv1(x)))))
    x = torch.relu(x + block.bn2(block.conv2(y)) * gates[:, :, None, None])
    return F.cross_entropy(module[4:](x), labels, reduction="none")


def test_the_features_of_a_unit_are_the_derivatives_of_its_gate_example_by_example() -> None:
    one = model()
    units = Units.of(one.spec)
    stream = next(g for g, group in enumerate(units.groups) if group.size == 4)
    found = taylor_features(one, units, units.whole(), loss, "stored")
    gates = torch.ones(32, 4, requires_grad=True)
    (changes,) = torch.autograd.grad(gated(one.module, gates).sum(), gates)
    for place, unit in enumerate((units.group_of == stream).nonzero()[0]):
        own = found[units.nodes[units.unit_of == int(unit)]]
        torch.testing.assert_close(
            own[:, 1], -changes[:, place].mean().expand(len(own)), rtol=1e-4, atol=1e-6
        )
        spread = changes[:, place].square().mean().sqrt()
        torch.testing.assert_close(own[:, 3], spread.expand(len(own)), rtol=1e-4, atol=1e-6)


def test_neurons_that_are_gone_have_no_features() -> None:
    one = model()
    units = Units.of(one.spec)
    kept = units.without(units.whole(), 3)
    found = taylor_features(one, units, kept, loss)
    gone = units.nodes[units.unit_of == 3]
    assert not found[gone].any()
    assert found[units.nodes[units.unit_of == 4]].any()
