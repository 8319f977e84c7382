"""Experts that stay where they are while their network moves; the second device is `meta`, where no GPU is."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nasplat.elastic import Constant, ElasticLinear, ElasticSpace, Size, WeightSource, transformed
from nasplat.elastic.weights.assigned import AssignedRouter, Rows, assigned_sources, with_expert
from nasplat.elastic.weights.replace import register, replace_sources
from nasplat.elastic.weights.sources import Slot
from nasplat.elastic.weights.streaming import StreamedBank, StreamedCrop, expert_source
from nasplat.space import Arch


def mixed(space: ElasticSpace, stream: bool) -> nn.Module:
    """Two experts of the small network; the same weights, streamed or not."""

    def share(net: nn.Module, space: ElasticSpace) -> None:
        router = AssignedRouter(Rows.of(space), 2)
        replace_sources(net, assigned_sources(router, stream=stream))
        register(net, "sharing", router)

    return space.shared(share).supernet(5)


def devices(net: nn.Module) -> dict[str, set[str]]:
    """Devices of the weights of banks, and of everything else."""
    found: dict[str, set[str]] = {"banks": set(), "rest": set()}
    for name, tensor in [*net.named_parameters(), *net.named_buffers()]:
        found["banks" if ".bank." in name else "rest"].add(tensor.device.type)
    return found


def test_experts_stay_when_their_network_moves_and_nothing_else_does(space: ElasticSpace) -> None:
    net = mixed(space, stream=True).to("meta")
    assert devices(net) == {"banks": {"cpu"}, "rest": {"meta"}}
    assert devices(mixed(space, stream=False).to("meta")) == {"banks": {"meta"}, "rest": {"meta"}}
    y = net(torch.empty(2, 3, 9, 9, device="meta"), with_expert(space.largest(), 1))
    assert y.device.type == "meta"


def test_experts_follow_in_precision_with_their_gradients(space: ElasticSpace) -> None:
    net = mixed(space, stream=True)
    net(torch.randn(2, 3, 9, 9), with_expert(space.largest(), 1)).sum().backward()
    net.double()
    assert {p.dtype for p in net.parameters()} == {torch.float64}
    assert {p.grad.dtype for p in net.parameters() if p.grad is not None} == {torch.float64}
    assert devices(net.to("meta", torch.bfloat16)) == {"banks": {"cpu"}, "rest": {"meta"}}
    assert {p.dtype for p in net.parameters()} == {torch.bfloat16}


def test_experts_that_were_made_without_storage_can_be_given_some(space: ElasticSpace) -> None:
    with torch.device("meta"):
        net = mixed(space, stream=True)
    assert devices(net)["banks"] == {"meta"}
    assert devices(net.to_empty(device="cpu")) == {"banks": {"cpu"}, "rest": {"cpu"}}


def test_streamed_experts_learn_as_resident_ones_do(space: ElasticSpace) -> None:
    nets = [mixed(space, stream) for stream in (True, False)]
    x, target = torch.randn(4, 3, 9, 9), torch.tensor([0, 1, 2, 3])
    for net in nets:
        net.eval()  # no dropout
        optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
        for arch in (with_expert(space.largest(), 0), with_expert(space.smallest(), 1)):
            torch.autograd.backward(F.cross_entropy(net(x, arch), target))
            optimiser.step()
            optimiser.zero_grad()
    streamed, resident = (net.state_dict() for net in nets)
    assert streamed.keys() == resident.keys()
    assert all(tensor.equal(resident[name]) for name, tensor in streamed.items())


def test_a_source_without_streaming_is_the_ordinary_one(space: ElasticSpace) -> None:
    kinds = {type(m) for m in mixed(space, stream=False).modules()}
    assert not kinds & {StreamedBank, StreamedCrop}


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_a_crop_that_learns_runs_on_the_device_with_its_own_weights(kernel: int) -> None:
    slot = Slot({"weight": (Size(4), Size(2), Size(5, "k"), Size(5, "k"))}, lambda tensors: None)
    old = transformed([1, 3, 5])(slot)
    with torch.no_grad():
        for parameter in old.parameters():
            parameter.normal_()
    new = expert_source(old, Constant(), 1, stream=True)
    new.bank.atoms("weight")[0].data.copy_(old.bank.atoms("weight")[0])
    arch = Arch({"k": kernel})
    assert new(arch)[0].equal(old(arch)[0])
    assert new.to("meta")(arch)[0].device.type == "meta"
    assert {p.device.type for p in new.bank.parameters()} == {"cpu"}


def test_only_the_slice_travels() -> None:
    layer = ElasticLinear(Size(8, "i"), Size(6, "o"))
    source = expert_source(layer.source, Constant(), 1, stream=True)
    assert isinstance(source, WeightSource)
    moved: list[torch.Size] = []

    class Spy(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            if func is torch.Tensor.to:
                moved.append(args[0].shape)
            return func(*args, **(kwargs or {}))

    with Spy():
        source(Arch({"i": 3, "o": 2}))
    assert moved == [(2, 3), (2,)]
