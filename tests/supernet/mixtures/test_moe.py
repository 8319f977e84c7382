"""Mixture-of-Supernets as an edit of a supernet: against plain supernets with the same or the average weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nasplat import load
from nasplat.elastic import ElasticSpace, WeightSource
from nasplat.elastic.groups import LINEAR
from nasplat.supernet import Settings
from nasplat.supernet.execution import EXECUTIONS
from nasplat.supernet.mixtures import MixtureOfSupernets, make_mixture
from nasplat.supernet.place import find_place

SPACES: dict[str, ElasticSpace] = {
    "convnet": load("spaces", "elastic_convnet")(
        input_shape=(3, 6, 6), classes=3, stages=1, depth=(1, 2), width=(4, 8), kernel=(1, 3)
    ),
    "vit": load("spaces", "elastic_vit")(
        input_shape=(3, 8, 8), classes=3, depth=(1, 2), width=(16, 32), heads=(1, 2, 4), pool="token"
    ),
}


def images(space: ElasticSpace) -> Tensor:
    return torch.randn(3, *(space.input_shape or ()), generator=torch.Generator().manual_seed(3))


def mixed(space: ElasticSpace, **keys: Any) -> nn.Module:
    return space.shared(MixtureOfSupernets(**keys).apply).supernet(seed=1).eval()


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("per", ["layer", "neuron"])
@pytest.mark.parametrize("router", ["learned", "frozen", "constant"])
def test_a_mixture_of_one_expert_is_the_plain_supernet(name: str, per: str, router: str) -> None:
    space = SPACES[name]
    net, plain, x = (
        mixed(space, experts=1, per=per, router=router),
        space.supernet(seed=1).eval(),
        images(space),
    )
    with torch.no_grad():
        for arch in (space.smallest(), space.largest()):
            assert net(x, arch).equal(plain(x, arch))


@pytest.mark.parametrize("name", SPACES)
def test_a_constant_router_is_the_plain_average_of_the_experts(name: str) -> None:
    space = SPACES[name]
    net, plain, x = mixed(space, experts=3, router="constant"), space.supernet(seed=1).eval(), images(space)
    sources = {n: m for n, m in net.named_modules() if isinstance(m, WeightSource) and len(m.bank) > 1}
    with torch.no_grad():
        for at, source in sources.items():
            for tensor in source.bank.slot.tensors:
                mean = torch.stack(source.bank.atoms(tensor)).mean(0)
                plain.get_parameter(f"{at}.bank.{tensor}_0").copy_(mean)
        for arch in (space.smallest(), space.largest()):
            torch.testing.assert_close(net(x, arch), plain(x, arch), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", SPACES)
def test_linear_layers_and_convolutions_are_mixed_and_nothing_else(name: str) -> None:
    space = SPACES[name]
    for layer in mixed(space).modules():
        if isinstance(source := getattr(layer, "source", None), WeightSource):
            assert len(source.bank) == (2 if isinstance(layer, LINEAR) else 1)


def test_layers_are_chosen_by_name() -> None:
    net = mixed(SPACES["vit"], layers=("*.feed_forward.*",))
    layers = {n for n, m in net.named_modules() if isinstance(m, WeightSource) and len(m.bank) > 1}
    assert len(layers) == 4
    assert all(".feed_forward." in n for n in layers)


def test_expert_0_keeps_the_start_of_the_layer_and_the_others_are_new() -> None:
    space = SPACES["convnet"]
    net, plain = mixed(space, experts=3), space.supernet(seed=1).state_dict()
    for name, tensor in net.state_dict().items():
        if ".weight_" in name and "norm" not in name:
            first = plain[f"{name[:-1]}0"]
            assert tensor.equal(first) == name.endswith("_0")
            assert float(tensor.std()) == pytest.approx(float(first.std()), rel=0.4)


def test_coefficients_are_for_each_row_of_the_weight_or_each_head() -> None:
    net = mixed(SPACES["vit"], per="neuron")
    for layer in net.modules():
        if isinstance(layer, LINEAR):
            rows = layer.source.bank.slot.tensors["weight"][0].maximum
            assert {tuple(c.shape) for c in layer.source.router(SPACES["vit"].largest())} == {(rows,)}


@pytest.mark.parametrize("per", ["layer", "neuron"])
def test_a_folded_batch_says_what_slices_say(per: str) -> None:
    space = SPACES["convnet"]
    net, x = mixed(space, per=per).double(), images(space).double()
    archs = [space.largest(), space.smallest(), space.arch({**space.largest(), "width1": 4})]
    run = EXECUTIONS["vmap"](find_place(Settings(bf16=False)).forward(net), space, None)
    with torch.no_grad():
        for y, arch in zip((y for group in run(x, archs) for y in group), archs, strict=True):
            torch.testing.assert_close(y, net(x, arch))


def test_a_control_is_a_table_that_can_be_run() -> None:
    assert make_mixture(dict(MixtureOfSupernets.control or {})) == MixtureOfSupernets(router="constant")
