"""A tree sends every architecture to one leaf, and says of every node which architectures come there."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from nasplat.elastic import Bank, Constant, Key, OneHot, SoftArch, WeightSource, transformed
from nasplat.elastic.sizes import Size
from nasplat.elastic.weights.sources import Slot
from nasplat.elastic.weights.tree import ForkedSource, Tree
from nasplat.errors import InvalidArchitecture, NasplatError
from nasplat.space import Arch, Choice, Space, categorical, ordinal

CHOICES = [
    ordinal("depth", (1, 2, 3)),
    categorical("op", ("a", "b", "c"), {"depth": (2, 3)}),
    ordinal("kernel", (1, 3), {"op": ("b", "c")}),
]
SPACE = Space("nested", CHOICES)


def by_hand(tree: Tree, arch: Arch) -> int:
    """The leaf by walking down with the buffers themselves."""
    node = leaf = 0
    for depth in range(tree.splits):
        choice = int(tree.choice[node])
        side = 0
        if choice >= 0 and CHOICES[choice].name in arch:
            side = int(tree.side[node, CHOICES[choice].index(arch[CHOICES[choice].name])])
        node, leaf = 2 * node + 1 + side, leaf + side * 2**depth
    return leaf


def test_before_a_split_all_architectures_have_leaf_0() -> None:
    tree = Tree(CHOICES, 2)
    assert {tree.leaf(arch) for arch in SPACE.enumerate()} == {0}


def test_a_split_moves_some_values_and_an_inactive_choice_stays() -> None:
    tree = Tree(CHOICES, 2)
    tree.split(0, "kernel", [3])
    assert tree.leaf(Arch({"depth": 1})) == 0
    assert tree.leaf(Arch({"depth": 2, "op": "a"})) == 0
    assert tree.leaf(Arch({"depth": 2, "op": "b", "kernel": 1})) == 0
    assert tree.leaf(Arch({"depth": 2, "op": "b", "kernel": 3})) == 1
    tree.split(2, "op", ["c"])
    assert tree.leaf(Arch({"depth": 2, "op": "b", "kernel": 3})) == 1
    assert tree.leaf(Arch({"depth": 2, "op": "c", "kernel": 3})) == 3


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """Trees that were split by open choices of the nodes, as a training does."""
    tree = Tree(CHOICES, draw(st.integers(1, 3)))
    for depth in range(tree.splits):
        for node, *_ in tree.nodes(depth):
            several = [c for c in tree.part(SPACE, node).choices if len(c.values) > 1]
            active = [
                c for c in several if any(c.name in arch for arch in tree.part(SPACE, node).enumerate())
            ]
            if active and draw(st.booleans()):
                choice: Choice = draw(st.sampled_from(active))
                size = st.integers(1, len(choice.values) - 1)
                tree.split(node, choice.name, draw(st.permutations(choice.values))[: draw(size)])
    return tree


@settings(max_examples=40, deadline=None)
@given(tree=trees())
def test_the_parts_of_the_nodes_at_a_depth_are_the_architectures_that_come_there(tree: Tree) -> None:
    archs = list(SPACE.enumerate())
    assert [tree.leaf(arch) for arch in archs] == [by_hand(tree, arch) for arch in archs]
    for depth in range(tree.splits):
        nodes = list(tree.nodes(depth))
        found = {first: set(tree.part(SPACE, node).enumerate()) for node, first, _ in nodes}
        used = {leaf: {a for a in archs if tree.leaf(a) % 2**depth == leaf} for leaf in range(2**depth)}
        assert {leaf: part for leaf, part in used.items() if part} == {
            leaf: part for leaf, part in found.items() if part and used[leaf]
        }


def test_a_saved_tree_restores_into_a_fresh_one_and_copies_go_their_own_way() -> None:
    tree, fresh = Tree(CHOICES, 2), Tree(CHOICES, 2)
    tree.split(0, "depth", [3])
    deep = Arch({"depth": 3, "op": "a"})
    assert fresh.leaf(deep) == 0
    for name, tensor in fresh.state_dict().items():  # in place, as checkpoints do
        tensor.copy_(tree.state_dict()[name])
    assert fresh.leaf(deep) == 1
    twin = copy.deepcopy(tree)
    twin.split(2, "op", ["a"])
    assert (tree.leaf(deep), twin.leaf(deep)) == (1, 3)
    assert tree.to(torch.device("meta")).choice.is_meta


def test_the_structure_is_read_only_when_it_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    tree, reads = Tree(CHOICES, 1), list[int]()
    fork = Tree._fork
    monkeypatch.setattr(Tree, "_fork", lambda self, *given: reads.append(1) or fork(self, *given))
    tree.split(0, "depth", [3])
    for arch in SPACE.enumerate():
        tree.leaf(arch)
    assert len(reads) == 1


def split(name: str, value: int | str) -> Tree:
    tree = Tree(CHOICES, 1)
    tree.split(0, name, [value])
    return tree


def test_a_copy_that_gets_another_structure_reads_it() -> None:
    """Copies count their changes anew, and come to the number that the original had."""
    tree, deep = Tree(CHOICES, 1), Arch({"depth": 3, "op": "a"})
    for _ in range(2):
        tree.load_state_dict(split("op", "b").state_dict())
    assert tree.leaf(deep) == 0
    twin = copy.deepcopy(tree)
    twin.load_state_dict(split("depth", 3).state_dict())
    assert twin.leaf(deep) == 1


def test_the_structure_is_read_in_inference_mode() -> None:
    tree, deep = split("depth", 3), Arch({"depth": 3, "op": "a"})
    with torch.inference_mode():
        twin = copy.deepcopy(tree)
        assert twin.leaf(deep) == 1
        twin.side.zero_()
        assert twin.leaf(deep) == 0


def test_tensors_without_values_leave_the_structure_that_was_read_last() -> None:
    tree, deep = split("depth", 3), Arch({"depth": 3, "op": "a"})
    assert tree.leaf(deep) == 1
    assert copy.deepcopy(tree).to("meta").leaf(deep) == 1
    with FakeTensorMode() as shapes:
        fakes = {name: shapes.from_tensor(buffer) for name, buffer in tree.named_buffers()}
        assert (
            torch.func.functional_call(Leaf(tree), {f"tree.{n}": t for n, t in fakes.items()}, (deep,)) == 1
        )


class Leaf(nn.Module):
    def __init__(self, tree: Tree) -> None:
        super().__init__()
        self.tree = tree

    def forward(self, arch: Arch) -> int:
        return self.tree.leaf(arch)


def slot() -> Slot:
    def fill(tensors: object) -> None:
        tensors["weight"].normal_()  # type: ignore[index]

    return Slot({"weight": (Size(2), Size(3), Size(5, "kernel"), Size(5, "kernel"))}, fill)


def weights_of(source: nn.Module, arch: Arch) -> torch.Tensor:
    weight: torch.Tensor = source(arch)[0].detach().clone()
    return weight


@pytest.mark.parametrize("keyed", [False, True])
def test_a_forked_source_gives_what_the_source_gave_and_each_leaf_is_complete(keyed: bool) -> None:
    choices = [ordinal("kernel", (3, 5)), categorical("op", ("a", "b"))]
    space, tree = Space("s", choices), Tree(choices, 1)
    plain = transformed((3, 5))(slot())
    if keyed:
        key = Key.of(choices[1])
        plain = WeightSource(Bank(slot(), 2), OneHot(key), plain.crop)
    source = ForkedSource(plain, tree, "conv")
    archs = list(space.enumerate())
    before = [weights_of(plain, arch) for arch in archs]
    assert all(weights_of(source, a).equal(w) for a, w in zip(archs, before, strict=True))

    tree.split(0, "op", ["b"])
    first, second = source.weights(0), source.weights(1)
    assert len(first) == len(second) == (3 if keyed else 2)  # banks, and the matrix of the crop
    assert {id(p) for p in first + second} == {id(p) for p in source.parameters()}
    with torch.no_grad():
        for weight in second:
            weight.add_(1.0)
    for arch, weight in zip(archs, before, strict=True):
        assert weights_of(source, arch).equal(weight) == (arch["op"] == "a")


def test_a_leaf_is_drawn_anew_and_the_others_stay() -> None:
    tree = Tree([ordinal("kernel", (3, 5))], 1)
    source = ForkedSource(transformed((3, 5))(slot()), tree, "conv")
    with torch.no_grad():
        for weight in source.parameters():
            weight.add_(1.0)
    before = [p.clone() for p in source.weights(0)]
    source.reset(1)
    assert all(p.equal(b) for p, b in zip(source.weights(0), before, strict=True))
    assert not any(p.equal(b) for p, b in zip(source.weights(1), before, strict=True))
    assert source.weights(1)[-1].equal(torch.eye(9))


def test_sources_that_mix_and_soft_architectures_are_refused() -> None:
    choices = [ordinal("kernel", (3, 5))]
    tree = Tree(choices, 1)
    mixed = WeightSource(Bank(slot(), 2), Constant((0.5, 0.5)))
    with pytest.raises(NasplatError, match=r"blocks.conv mixes its weights already \(Constant\): leave"):
        ForkedSource(mixed, tree, "blocks.conv")
    source = ForkedSource(WeightSource(Bank(slot())), tree, "conv")
    with pytest.raises(InvalidArchitecture, match="cannot be masked: use execution 'slice'"):
        source(SoftArch(choices, {"kernel": torch.tensor([0.5, 0.5])}))
