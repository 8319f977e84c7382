"""Batch norm statistics after recalibration, in closed form."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nasplat.elastic import ElasticSpace, Recalibration, extract, recalibrate
from nasplat.errors import NasplatError
from nasplat.space import Arch


def uneven_batches() -> list[Tensor]:
    """Batches of different sizes whose means differ strongly: averaged batch variances would be far off."""
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(n, 3, 4, 5, generator=generator) * (n / 4) + shift
        for n, shift in ((8, -3.0), (2, 5.0), (5, 0.0))
    ]


def test_statistics_equal_those_of_all_batches_as_one() -> None:
    norm, batches = nn.BatchNorm2d(3), uneven_batches()
    recalibrate(norm, batches)
    whole = torch.cat(batches).transpose(0, 1).flatten(1)
    torch.testing.assert_close(norm.running_mean, whole.mean(1))
    torch.testing.assert_close(norm.running_var, whole.var(1))


def test_a_later_norm_gets_the_statistics_of_what_the_earlier_one_normalised() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 2, 1)
    net, batches = nn.Sequential(nn.BatchNorm2d(3), conv, nn.BatchNorm2d(2)), uneven_batches()
    recalibrate(net, batches)

    def normalised(x: Tensor) -> Tensor:
        var, mean = torch.var_mean(x, (0, 2, 3), correction=0, keepdim=True)
        return (x - mean) / torch.sqrt(var + 1e-5)

    whole = torch.cat([conv(normalised(x)) for x in batches]).transpose(0, 1).flatten(1)
    torch.testing.assert_close(net[2].running_mean, whole.mean(1), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(net[2].running_var, whole.var(1), atol=1e-5, rtol=1e-4)


def test_the_same_batches_again_or_in_another_order_change_nothing(
    space: ElasticSpace, net: nn.Module
) -> None:
    module = extract(net, Arch({"depth": 1, "width": 7, "expand": 1.0, "kernel1": 3}))
    batches = [torch.randn(6, 3, 9, 9) for _ in range(4)]
    recalibrate(module, batches)
    first = {name: tensor.clone() for name, tensor in module.named_buffers()}
    recalibrate(module, batches[::-1])
    for name, tensor in module.named_buffers():
        torch.testing.assert_close(tensor, first[name], atol=1e-6, rtol=1e-5)


def test_only_statistics_change_and_the_work_is_recorded() -> None:
    net = nn.Sequential(nn.BatchNorm2d(3, momentum=0.3), nn.Dropout(0.5), nn.Conv2d(3, 2, 1)).train()
    net[2].eval()
    before = {name: p.clone() for name, p in net.named_parameters()}
    state = torch.get_rng_state()
    assert recalibrate(net, uneven_batches()) == Recalibration(layers=1, batches=3, images=15)
    assert torch.equal(state, torch.get_rng_state())
    assert [m.training for m in net] == [True, True, False]
    assert net[0].momentum == 0.3
    assert net[0].track_running_stats
    assert int(net[0].num_batches_tracked) == 3
    assert all(torch.equal(p, before[name]) and p.grad is None for name, p in net.named_parameters())
    assert not net[0]._forward_pre_hooks


def test_norms_without_statistics_or_out_of_use_stay_as_they_are() -> None:
    net = nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False))
    net.unused = None
    assert recalibrate(net, uneven_batches()).layers == 0


def test_without_batches_nothing_changes() -> None:
    norm = nn.BatchNorm2d(3)
    with pytest.raises(NasplatError, match="got no batch"):
        recalibrate(norm, [])
    assert torch.equal(norm.running_var, torch.ones(3))


def test_a_failing_loader_leaves_the_module_as_it_was() -> None:
    def failing() -> object:
        yield torch.randn(2, 3, 4, 4)
        raise OSError("disk")

    norm = nn.BatchNorm2d(3)
    with pytest.raises(OSError, match="disk"):
        recalibrate(norm, failing())  # type: ignore[arg-type]
    assert torch.equal(norm.running_var, torch.ones(3))
    assert not norm._forward_pre_hooks
    assert norm.track_running_stats


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (torch.ones(0, 3, 4, 4), "^recalibrate got an empty batch: leave it out$"),
        (
            (torch.ones(2, 3, 4, 4), torch.ones(2)),
            "^recalibrate got a tuple as a batch: give the inputs alone",
        ),
    ],
)
def test_batches_that_are_none_change_nothing_and_are_told_in_one_line(batch: object, message: str) -> None:
    norm = nn.BatchNorm2d(3)
    with pytest.raises(NasplatError, match=message):
        recalibrate(norm, [torch.randn(2, 3, 4, 4), batch])
    assert not norm.running_mean.any()
