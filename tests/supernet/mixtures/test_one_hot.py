"""Experts by a rule: which architecture has which, and that no other is touched."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor, nn

from nasplat import load
from nasplat.elastic import ElasticSpace, WeightSource
from nasplat.errors import InvalidArchitecture, NasplatError
from nasplat.space import Arch, categorical
from nasplat.supernet.mixtures import Dealt, Keyed, Mixture, Separate
from nasplat.supernet.recipe import Recipe, make_optimiser

SPACE: ElasticSpace = load("spaces", "elastic_convnet")(
    input_shape=(3, 6, 6), classes=3, stages=1, depth=(1, 2), width=(4, 6, 8), kernel=(1, 3)
)
ARCHS = list(SPACE.enumerate())


def expert(net: nn.Module, arch: Arch) -> int:
    """The one that has coefficient 1 in every source."""
    sources = [module for module in net.modules() if isinstance(module, WeightSource)]
    (found,) = {tuple(source.router(arch)) for source in sources}
    assert sorted(found) == [0.0] * (len(found) - 1) + [1.0]
    return found.index(1.0)


def supernet(mixture: Mixture) -> nn.Module:
    return SPACE.shared(mixture.apply).supernet(seed=1)


def test_every_value_of_a_choice_has_an_expert() -> None:
    net = supernet(Keyed(choice="width1"))
    assert {(arch["width1"], expert(net, arch)) for arch in ARCHS} == {(4, 0), (6, 1), (8, 2)}


def test_every_architecture_has_an_expert_of_its_own() -> None:
    net = supernet(Separate())
    assert [expert(net, arch) for arch in ARCHS] == list(range(len(ARCHS)))
    other = SPACE.extended([categorical("more", (0, 1))]).largest()
    with pytest.raises(InvalidArchitecture, match="expected 0 to"):
        expert(net, other)


def test_a_deal_is_random_stays_and_depends_on_its_seed() -> None:
    deals = [[expert(supernet(Dealt(experts=2, seed=seed)), arch) for arch in ARCHS] for seed in (0, 0, 1)]
    assert deals[0] == deals[1] != deals[2]
    assert min(Counter(deals[0]).values()) > len(ARCHS) / 5


def test_more_experts_than_architectures_are_refused() -> None:
    n = len(ARCHS)
    supernet(Dealt(experts=n))
    with pytest.raises(NasplatError, match=rf"experts = {n + 1}: .* has {n} architectures; give at most {n}"):
        supernet(Dealt(experts=n + 1))


@pytest.mark.parametrize("mixture", [Keyed(choice="width1"), Dealt(experts=3), Separate()])
def test_the_first_expert_keeps_the_weights_of_the_plain_supernet(mixture: Mixture) -> None:
    plain, net = SPACE.supernet(seed=1).eval(), supernet(mixture).eval()
    x = torch.randn(3, 3, 6, 6, generator=torch.Generator().manual_seed(3))
    first = next(arch for arch in ARCHS if expert(net, arch) == 0)
    with torch.no_grad():
        assert net(x, first).equal(plain(x, first))


def test_a_layer_with_a_key_of_its_own_keeps_it_inside_every_expert() -> None:
    space: ElasticSpace = load("spaces", "mixpath")(
        input_shape=(3, 8, 8),
        classes=3,
        width=(8,),
        depth=(1,),
        kernel=(3, 5),
        expand=(2, 3),
        stem=8,
        head=16,
    )
    choice = next(c for c in space.choices if not c.when and c.name.startswith("expand"))
    net, plain = (
        space.shared(Keyed(choice=choice.name).apply).supernet(seed=1).eval(),
        space.supernet(seed=1).eval(),
    )
    keyed = [n for n, m in plain.named_modules() if isinstance(m, WeightSource) and len(m.bank) > 1]
    assert keyed
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        for name in keyed:
            for k, atom in enumerate(net.get_submodule(name).bank.atoms("weight")):
                atom.fill_(k + 1)
            for k, atom in enumerate(plain.get_submodule(name).bank.atoms("weight")):
                atom.fill_(k + 1)
        for arch in space.enumerate():
            if choice.index(arch[choice.name]) == 0:
                assert net(x, arch).equal(plain(x, arch))
    counts = {(len(plain.get_submodule(n).bank), len(net.get_submodule(n).bank)) for n in keyed}
    assert counts == {(2, 4)}


@pytest.mark.parametrize("mixture", [Keyed(choice="width1"), Dealt(experts=3), Separate()])
@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_steps_that_did_not_select_an_expert_leave_it_alone_with_momentum_and_decay(
    mixture: Mixture, optimiser: str
) -> None:
    net = supernet(mixture)
    rule = make_optimiser(net, Recipe(optimiser=optimiser, weight_decay=0.1))
    a = ARCHS[0]
    b = next(arch for arch in ARCHS if expert(net, arch) != expert(net, a))

    def step(arch: Arch) -> None:
        net(torch.randn(8, 3, 6, 6), arch).square().mean().backward()
        rule.step()
        rule.zero_grad()

    def weights(number: int) -> dict[str, Tensor]:
        return {n: p.detach().clone() for n, p in net.named_parameters() if n.endswith(f"_{number}")}

    torch.manual_seed(0)
    step(a)
    ours, theirs = weights(expert(net, a)), weights(expert(net, b))
    step(b)
    assert all(tensor.equal(weights(expert(net, a))[name]) for name, tensor in ours.items())
    assert not all(tensor.equal(weights(expert(net, b))[name]) for name, tensor in theirs.items())
