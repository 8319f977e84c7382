"""A subnet as an ordinary module: equal, plain, its own."""

from __future__ import annotations

import copy
import gc
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, fx, nn

from nasplat.elastic import (
    ElasticBatchNorm2d,
    ElasticConv2d,
    ElasticLinear,
    ElasticSpace,
    Norms,
    Size,
    Slot,
    UntraceableNetwork,
    extract,
    sliced,
)
from nasplat.export.network import prepare
from nasplat.space import Arch, ordinal

ARCH = Arch({"depth": 1, "width": 7, "expand": 0.5, "kernel1": 3})


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_an_extracted_module_equals_the_supernet_in_its_architecture(
    seed: int, space: ElasticSpace, net: nn.Module
) -> None:
    arch = space.sample(np.random.default_rng(seed))
    x = torch.randn(3, 3, 9, 9, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(extract(net, arch)(x), net(x, arch), atol=1e-5, rtol=1e-5)


def test_every_layer_comes_from_torch_nn_and_keeps_its_name(net: nn.Module) -> None:
    module = extract(net, ARCH)
    layers = {name: type(m) for name, m in module.named_modules() if not list(m.children())}
    assert layers == {
        "stem": nn.Conv2d,
        "shared": nn.BatchNorm2d,
        "blocks.0.depthwise": nn.Conv2d,
        "blocks.0.norm": nn.BatchNorm2d,
        "blocks.0.act": nn.ReLU,
        "blocks.0.widen": nn.Conv2d,
        "blocks.0.narrow": nn.Conv2d,
        "drop": nn.Dropout,
        "head": nn.Linear,
    }
    assert isinstance(module, fx.GraphModule)
    assert all(type(m).__module__.startswith("torch.") for m in module.modules() if m is not module)


def test_a_layer_that_runs_twice_stays_one_layer(net: nn.Module) -> None:
    calls = [node.target for node in extract(net, ARCH).graph.nodes if node.op == "call_module"]
    assert calls.count("shared") == 2


def test_an_extracted_module_shares_nothing_with_the_supernet(net: nn.Module) -> None:
    before = copy.deepcopy(net.state_dict())
    module = extract(net, Arch({"depth": 2, "width": 12, "expand": 2.0, "kernel1": 5, "kernel2": 5}))
    for tensor in module.state_dict().values():
        tensor.fill_(3)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


def test_an_extracted_module_outlives_its_supernet(space: ElasticSpace) -> None:
    net = space.supernet()
    module, weight = extract(net, ARCH), weakref.ref(net.stem.source.bank.weight_0)
    del net
    gc.collect()
    assert weight() is None
    assert module(torch.randn(1, 3, 9, 9)).shape == (1, 5)


@pytest.mark.parametrize("training", [True, False])
def test_an_extracted_module_is_in_the_mode_of_its_network(space: ElasticSpace, training: bool) -> None:
    module = extract(space.supernet().train(training), ARCH)
    assert {m.training for m in module.modules()} == {training}


def test_an_extracted_module_trains_as_the_supernet_does(space: ElasticSpace) -> None:
    net, x = space.supernet(), torch.randn(4, 3, 9, 9)
    module = extract(net, ARCH)
    module.drop.p = net.drop.p = 0.0
    net(x, ARCH).square().mean().backward()
    module(x).square().mean().backward()
    grad = net.stem.source.bank.weight_0.grad
    torch.testing.assert_close(grad[:7], module.stem.weight.grad)
    assert not grad[7:].any()


class Twice(nn.Module):
    """One layer in two architectures."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = ElasticLinear(4, Size(4, "width"))

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        return self.layer(self.layer(x, Arch({"width": 4})), arch=arch)


def test_one_layer_in_two_architectures_becomes_two() -> None:
    net, x = Twice(), torch.randn(2, 4)
    module = extract(net, Arch({"width": 2}))
    assert [name for name, _ in module.named_children()] == ["layer", "layer_2"]
    torch.testing.assert_close(module(x), net(x, Arch({"width": 2})))


class Scale(nn.Module):
    """A parameter and a buffer outside any layer."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Module()
        self.inner.scale = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("shift", torch.tensor(1.0))

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        return x * self.inner.scale + self.shift


def test_parameters_outside_layers_are_copied() -> None:
    net = Scale()
    module = extract(net, Arch({}))
    net.inner.scale.data.fill_(100.0)
    assert module(torch.ones(())).item() == 3.0
    assert [name for name, _ in module.named_parameters()] == ["inner.scale"]


class Branches(nn.Module):
    """Control flow on the values of a tensor."""

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        if x.sum() > 0:
            return x
        return -x


def test_a_network_that_does_not_trace_is_told_by_its_line() -> None:
    with pytest.raises(UntraceableNetwork) as error:
        extract(Branches(), Arch({}))
    message = str(error.value)
    assert "test_extraction.py" in message
    assert "`if x.sum() > 0:` cannot be traced" in message
    assert "\n" not in message


def test_an_extracted_module_can_be_copied_and_exported(net: nn.Module) -> None:
    module, x = copy.deepcopy(extract(net, ARCH)), torch.randn(2, 3, 9, 9)
    exported = torch.export.export(module, (x,)).module()
    torch.testing.assert_close(exported(x), net(x, ARCH), atol=1e-5, rtol=1e-5)


def test_a_norm_without_its_architecture_is_told_by_its_line() -> None:
    class Forgetful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = ElasticBatchNorm2d(3)

        def forward(self, x: Tensor, arch: Arch) -> Tensor:
            return self.norm(x)

    with pytest.raises(UntraceableNetwork, match=r"`return self\.norm\(x\)`.*norm is called without an Arch"):
        extract(Forgetful(), Arch({}))


class Positions(nn.Module):
    """A parameter of elastic width that belongs to no layer of torch.nn."""

    def __init__(self, width: Size) -> None:
        super().__init__()
        self.source = sliced(Slot({"weight": (Size(1), width)}, lambda tensors: tensors["weight"].zero_()))

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        return x + self.source(arch)[0]

    def plain(self, arch: Arch) -> nn.Module:
        return Shift(self.source(arch)[0].detach().clone())


class Shift(nn.Module):
    """What Positions is in one architecture."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(values)

    def reset_parameters(self) -> None:
        nn.init.normal_(self.values)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.values


class Placed(nn.Module):
    """EvoNorm on images, then a linear layer and a shift that runs twice."""

    def __init__(self) -> None:
        super().__init__()
        width = Size(4, "width")
        self.block = nn.ModuleList(
            [ElasticConv2d(3, width, 3), Norms("evonorm_s0", group=2).activated(width, nn.ReLU())]
        )
        self.pos, self.head = Positions(width), ElasticLinear(width, 2)

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        for part in self.block:
            x = part(x, arch)
        return self.head(self.pos(self.pos(x.mean((2, 3)), arch), arch), arch)


PLACED = ElasticSpace("placed", [ordinal("width", (2, 4))], network=Placed, input_shape=(3, 4, 4))


def test_layers_that_torch_lacks_become_operations_and_bare_parameters() -> None:
    net, x, arch = PLACED.supernet(), torch.randn(2, 3, 4, 4), Arch({"width": 2})
    net.pos.source.bank.weight_0.data.normal_()
    module = extract(net, arch)
    torch.testing.assert_close(module(x), net(x, arch))
    kinds = {type(module.get_submodule(str(n.target))) for n in module.graph.find_nodes(op="call_module")}
    assert kinds == {nn.Conv2d, nn.Linear}
    assert {name: tuple(p.shape) for name, p in module.named_parameters()} == {
        "block.0.weight": (2, 3, 3, 3),
        "block.1.weight": (2, 1, 1),
        "block.1.bias": (2, 1, 1),
        "block.1.v": (2, 1, 1),
        "pos.values": (1, 2),
        "head.weight": (2, 2),
        "head.bias": (2,),
    }


def test_bare_parameters_of_a_built_network_start_by_the_rule_of_their_layer() -> None:
    values = PLACED.build(Arch({"width": 4}), seed=3).pos.values
    assert values.any()
    assert torch.equal(values, PLACED.build(Arch({"width": 4}), seed=3).pos.values)


def test_layers_that_torch_lacks_are_printed_as_source() -> None:
    x = torch.randn(5, 3, 4, 4)
    network, outputs = prepare(PLACED.build(Arch({"width": 4})), x)
    assert "self.pos_values = nn.Parameter(torch.empty(1, 4))" in network.source
    scope: dict[str, Any] = {"__name__": "network", "__file__": "network.py"}
    exec(network.source, scope)
    printed = scope["Network"]()
    printed.load_state_dict(network.weights)
    torch.testing.assert_close(printed.eval()(x), outputs)
