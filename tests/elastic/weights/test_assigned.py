"""One complete set of weights for each expert, and who decides which one an architecture has."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from nasplat.elastic import (
    ElasticBatchNorm2d,
    ElasticLinear,
    ElasticSpace,
    Key,
    SoftArch,
    WeightSource,
    extract,
    keyed,
    relax,
)
from nasplat.elastic.weights.arch_router import ArchRouter
from nasplat.elastic.weights.assigned import AssignedRouter, Rows, assigned_sources, with_expert
from nasplat.elastic.weights.encoding import ArchEncoding
from nasplat.elastic.weights.replace import places, register, replace_sources
from nasplat.errors import InvalidArchitecture, NasplatError
from nasplat.measure import count_macs
from nasplat.space import Arch, Space, categorical, ordinal


def share(net: nn.Module, space: ElasticSpace, experts: int = 3) -> AssignedRouter:
    router = AssignedRouter(Rows.of(space), experts)
    replace_sources(net, assigned_sources(router))
    register(net, "sharing", router)
    return router


@pytest.fixture
def mixed(space: ElasticSpace) -> nn.Module:
    """The small network with three experts, and random assignments."""
    net = space.supernet().eval()
    torch.manual_seed(3)
    share(net, space).probabilities.uniform_()
    return net


def test_rows_are_the_combinations_that_architectures_have(space: ElasticSpace) -> None:
    rows = Rows.of(space)
    assert [rows(arch) for arch in space.enumerate()] == list(range(space.size))
    some = Rows.of(space, ["kernel2", "depth"])  # kernel2 matters at depth 2 only
    assert len(some) == 1 + 1 + 3
    assert some.names == ("depth", "kernel2")
    assert {some(arch) for arch in space.enumerate()} == set(range(5))
    assert {some(a) for a in space.enumerate() if a["depth"] == 1} == {1}


def test_rows_of_a_choice_without_those_that_decide_on_it_include_its_absence(space: ElasticSpace) -> None:
    rows = Rows.of(space, ["kernel2"])
    assert len(rows) == 4
    assert len({rows(arch) for arch in space.enumerate() if "kernel2" not in arch}) == 1


def test_rows_that_are_unknown_or_too_many_are_refused(space: ElasticSpace) -> None:
    with pytest.raises(NasplatError, match=r"tiny has no choice 'width1'; did you mean 'width'\?"):
        Rows.of(space, ["width1"])
    many = Space("many", [ordinal(f"n{i}", range(10)) for i in range(6)])
    with pytest.raises(NasplatError, match=r"have 1,000,000 combinations: expected at most 100,000; let"):
        Rows.of(many)
    with pytest.raises(NasplatError, match=r"^n0, n1, n2, n3, n4, n5 have 1,000,000"):
        Rows.of(many, [f"n{i}" for i in (3, 1, 5, 0, 4, 2)])
    assert len(Rows.of(many, ["n1", "n3"])) == 100
    with pytest.raises(InvalidArchitecture, match=r"no expert is for \{'depth': 9"):
        Rows.of(space)(Arch({"depth": 9}))


def test_an_architecture_has_the_named_expert_or_else_the_most_probable_of_its_row(
    space: ElasticSpace,
) -> None:
    router = AssignedRouter(Rows.of(space), 3)
    arch = space.largest()
    router.probabilities[router.rows(arch)] = torch.tensor([0.2, 0.5, 0.3])
    assert router(arch) == [0.0, 1.0, 0.0]
    assert router(with_expert(arch, 2)) == [0.0, 0.0, 1.0]
    assert router.owned == [space.size - 1, 1, 0]
    for wrong in (3, -1, 1.0, True, "1"):
        with pytest.raises(InvalidArchitecture, match="expected 0 to 2"):
            router(Arch({**arch, "expert": wrong}))


def test_feedback_moves_one_score_towards_what_was_seen(space: ElasticSpace) -> None:
    router, arch = AssignedRouter(Rows.of(space), 2), space.smallest()
    for score in (0.5, 0.7):
        router.feed_back(with_expert(arch, 1), torch.tensor(score), 0.25)
    expected = torch.ones(space.size, 2)
    expected[router.rows(arch), 1] = 0.75 * (0.75 * 1 + 0.25 * 0.5) + 0.25 * 0.7
    torch.testing.assert_close(router.scores, expected)


def test_a_subnet_of_any_expert_equals_the_supernet(space: ElasticSpace, mixed: nn.Module) -> None:
    x = torch.randn(2, 3, 9, 9)
    for arch in (space.smallest(), space.largest()):
        outputs = [mixed(x, with_expert(arch, e)) for e in range(3)]
        for e, y in enumerate(outputs):
            torch.testing.assert_close(extract(mixed, with_expert(arch, e))(x), y, rtol=1e-5, atol=1e-5)
        assert not outputs[0].allclose(outputs[1])
        owner = mixed.get_submodule("sharing").expert(arch)  # type: ignore[operator]
        torch.testing.assert_close(extract(mixed, arch)(x), outputs[owner], rtol=1e-5, atol=1e-5)


def test_experts_have_complete_sets_of_weights_and_the_first_has_the_old_ones(
    space: ElasticSpace, mixed: nn.Module
) -> None:
    plain = space.supernet().eval()
    extra = {"norm", "shared", "stem", "depthwise", "widen", "narrow", "head"}
    banked = sum(p.numel() for place in places(plain) for p in place.source.bank.parameters())
    assert banked == sum(p.numel() for p in plain.parameters())
    assert sum(p.numel() for p in mixed.parameters()) == 3 * banked
    assert {name.split(".")[-1] for name in (place.name for place in places(mixed))} == extra
    x, arch = torch.randn(2, 3, 9, 9), space.largest()
    torch.testing.assert_close(mixed(x, with_expert(arch, 0)), plain(x, arch))


class Keyed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        key = Key(("depth",), 2, lambda arch: int(str(arch["depth"])) - 1)
        self.first, self.norm = ElasticLinear(4, 4, source=keyed(key)), ElasticBatchNorm2d(4, key=key)


def test_a_layer_with_weights_for_every_value_of_a_key_has_them_in_every_expert() -> None:
    space = ElasticSpace("keyed", [ordinal("depth", [1, 2])], network=Keyed)
    net, plain = space.supernet(1), space.supernet(1)
    share(net, space, experts=2)
    source, old = net.first.source, plain.first.source  # type: ignore[union-attr]
    assert isinstance(source, WeightSource)
    atoms = source.bank.atoms("weight")
    assert len(atoms) == 4
    for depth in (1, 2):
        for expert in (0, 1):
            weight, _ = source(Arch({"depth": depth, "expert": expert}))
            assert weight is atoms[2 * expert + depth - 1]
        assert source(Arch({"depth": depth, "expert": 0}))[0].equal(old(Arch({"depth": depth}))[0])  # type: ignore[operator]


def test_a_layer_that_learns_its_coefficients_is_refused(space: ElasticSpace) -> None:
    net = space.supernet()
    net.stem.source.router = ArchRouter(ArchEncoding(space.choices), 1)  # type: ignore[union-attr]
    with pytest.raises(NasplatError, match=r"stem mixes its weights already \(ArchRouter\): leave it out"):
        share(net, space)


def test_a_soft_architecture_mixes_experts_by_its_choice_of_them(
    space: ElasticSpace, mixed: nn.Module
) -> None:
    product = space.extended([categorical("expert", range(3))])
    source = mixed.stem.source  # type: ignore[union-attr]
    assert isinstance(source, WeightSource)
    vector = relax(product, [with_expert(space.largest(), 0)])[0]
    vector[-3:] = torch.tensor([0.2, 0.3, 0.5])
    mean = sum(p * w for p, w in zip((0.2, 0.3, 0.5), source.bank.atoms("weight"), strict=True))
    torch.testing.assert_close(source(SoftArch.unpack(product.choices, vector))[0], mean)
    with pytest.raises(InvalidArchitecture, match="a soft architecture needs probabilities of 'expert'"):
        source(SoftArch.one_hot(space, space.largest()))


def test_the_assignment_is_saved_once_and_copied_with_the_network(
    space: ElasticSpace, mixed: nn.Module
) -> None:
    names = [name for name in mixed.state_dict() if "scores" in name or "probabilities" in name]
    assert names == ["sharing.scores", "sharing.probabilities"]
    twin, x = copy.deepcopy(mixed), torch.randn(2, 3, 9, 9)
    twin.sharing.probabilities.zero_()[:, 2] = 1.0  # type: ignore[union-attr, operator]
    arch = space.largest()
    torch.testing.assert_close(twin(x, arch), mixed(x, with_expert(arch, 2)))


def test_a_network_that_has_the_name_already_is_refused(space: ElasticSpace, mixed: nn.Module) -> None:
    with pytest.raises(NasplatError, match="the network has a 'sharing' already"):
        share(mixed, space)


def test_owners_are_read_only_where_the_probabilities_have_changed(
    space: ElasticSpace, mixed: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    router, reads, tolist = mixed.get_submodule("sharing"), list[int](), Tensor.tolist
    monkeypatch.setattr(Tensor, "tolist", lambda self: reads.append(1) or tolist(self))
    for arch in (space.smallest(), space.largest()):
        mixed(torch.randn(2, 3, 9, 9), arch)
    assert len(reads) == 1
    router.probabilities.zero_()[:, 2] = 1.0  # type: ignore[union-attr, operator]
    assert router.expert(space.smallest()) == 2  # type: ignore[operator]
    assert len(reads) == 2


def test_the_operations_of_an_architecture_are_counted_without_values(
    space: ElasticSpace, mixed: nn.Module
) -> None:
    arch, x = space.largest(), torch.randn(1, 3, 9, 9)
    before = mixed(x, arch)
    assert count_macs(FixedArch(mixed, arch), x) == count_macs(FixedArch(space.supernet(), arch), x)
    assert mixed(x, arch).equal(before)


class FixedArch(nn.Module):
    def __init__(self, net: nn.Module, arch: Arch) -> None:
        super().__init__()
        self.net, self.arch = net, arch

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(x, self.arch)
        return y
