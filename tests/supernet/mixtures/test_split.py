"""A split finds the conflict that was planted, gives each side its own weights, and leaves all else as it was."""

from __future__ import annotations

import copy
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

import nasplat
from nasplat.data import Dataset, Split, random_inputs
from nasplat.elastic import ElasticBatchNorm2d, ElasticConv2d, ElasticLinear, ElasticSpace, Masks, extract
from nasplat.elastic.weights.tree import ForkedSource, Tree
from nasplat.errors import InvalidArchitecture, NasplatError, TrainingError
from nasplat.space import Arch, categorical
from nasplat.supernet import (
    Fixed,
    OFATraining,
    Phase,
    Schedule,
    Settings,
    UniformTraining,
    label_loss,
    load_weights,
    save_weights,
    train,
)
from nasplat.supernet.mixtures import Setting
from nasplat.supernet.mixtures.phases import insert
from nasplat.supernet.mixtures.split import FewShot
from nasplat.supernet.mixtures.split import Split as SplitLeaves
from nasplat.supernet.probes.load import atoms

ORDER = torch.tensor([3, 0, 6, 1, 7, 2, 4, 5])
OPS = {
    "plain": lambda h: h,
    "flip": lambda h: -h,
    "permute": lambda h: h[:, ORDER],
    "stronger": lambda h: 1.2 * h,
    "flip stronger": lambda h: -1.2 * h,
    "permute stronger": lambda h: 1.2 * h[:, ORDER],
}


class Net(nn.Module):
    """x (n, 6) -> (n, 3). Between two layers a choice that may need other weights, after the second a mild one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = ElasticLinear(6, 8), ElasticLinear(8, 8), ElasticLinear(8, 3)

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        h = OPS[str(arch["op"])](self.first(x, arch).tanh())
        out: Tensor = self.last((1.0 if arch["mild"] else 0.9) * self.second(h, arch).tanh(), arch)
        return out


def planted(conflict: str = "flip") -> ElasticSpace:
    """Four options, of which two and two agree, beside a choice that changes next to nothing."""
    ops = ("plain", conflict, "stronger", f"{conflict} stronger")
    choices = [categorical("mild", (False, True)), categorical("op", ops)]
    return ElasticSpace("planted", choices, network=Net, input_shape=(6,))


def classes(seed: int = 0) -> Dataset:
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(160, 6, generator=rng)
    y = (x @ torch.randn(6, 3, generator=rng)).argmax(1)
    parts = [Split(x[a:b], y[a:b]) for a, b in ((0, 96), (96, 128), (128, 160))]
    return Dataset("classes", *parts, classes=3)


METHOD = UniformTraining(epochs=10, batch_size=8, learning_rate=0.05)  # 120 steps


def trained(
    mixture: FewShot, space: ElasticSpace, seed: int = 0, method: UniformTraining = METHOD, **settings: Any
) -> nn.Module:
    data, net = classes(), space.shared(mixture.apply).supernet(seed)
    schedule = method.schedule(space, data, seed)
    schedule = mixture.schedule(schedule, Setting(net, space, data, method, seed))
    train(net, data, schedule, method, Settings(seed=seed, **settings))
    return net


def tree_of(net: nn.Module) -> Tree:
    tree = net.get_submodule("sharing")
    assert isinstance(tree, Tree)
    return tree


def equal(a: nn.Module, b: nn.Module) -> bool:
    return all(x.equal(y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("conflict", ["flip", "permute"])
def test_gradients_find_the_planted_conflict_and_separate_it(conflict: str, seed: int) -> None:
    space = planted(conflict)
    tree = tree_of(trained(FewShot(splits=1, at=(0.4,), repeats=8, batch=32), space, seed))
    sides = {str(arch["op"]): tree.leaf(arch) for arch in space.enumerate()}
    assert sides == {op: int(op.startswith(conflict)) for op in sides}


def test_chance_takes_any_choice_and_equal_halves() -> None:
    picks = set()
    for seed in range(12):
        name, sides = tree_of(trained(FewShot(splits=1, by="random"), planted(), seed, SHORT)).forks()[0] or (
            "",
            {},
        )
        picks.add((name, tuple(sides.values())))
        assert sum(sides.values()) * 2 == len(sides)
    assert {name for name, _ in picks} == {"mild", "op"}
    assert len(picks) > 3


SHORT = replace(METHOD, epochs=1)  # 12 steps


def test_a_named_choice_is_halved_in_its_order_until_each_value_stands_alone() -> None:
    space = planted()
    tree = tree_of(trained(FewShot(by="op"), space, method=SHORT))
    leaves = {str(arch["op"]): tree.leaf(arch) for arch in space.enumerate()}
    assert sorted(leaves.values()) == [0, 1, 2, 3]
    assert leaves["plain"] % 2 == leaves["flip"] % 2 != leaves["stronger"] % 2


def split_now(
    mixture: FewShot, space: ElasticSpace, net: nn.Module, optimiser: Optimizer, depth: int = 0
) -> None:
    SplitLeaves(mixture, Setting(net, space, classes(), METHOD, 0), depth)(net, optimiser)


def some_steps(net: nn.Module, optimiser: Optimizer, archs: list[Arch]) -> None:
    """A step for each architecture, as the loop does it."""
    data = classes()
    for arch in archs:
        F.cross_entropy(net(data.train.inputs, arch), data.train.targets).backward()
        optimiser.step()
        optimiser.zero_grad()


OPTIMISERS = {
    "sgd": lambda net: SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01),
    "adamw": lambda net: AdamW(net.parameters(), lr=0.01, weight_decay=0.1),
}


@pytest.mark.parametrize("kind", OPTIMISERS)
def test_children_that_inherit_go_on_exactly_as_the_parent_would(kind: str) -> None:
    mixture, space, archs = FewShot(by="op"), planted(), list(planted().enumerate())
    shared = space.shared(mixture.apply)
    net, plain = shared.supernet(1), space.supernet(1)
    optimiser, other = OPTIMISERS[kind](net), OPTIMISERS[kind](plain)
    some_steps(net, optimiser, archs)
    some_steps(plain, other, archs)
    for depth in range(2):
        split_now(mixture, space, net, optimiser, depth)
    x = classes().test.inputs
    assert all(net(x, arch).equal(plain(x, arch)) for arch in archs)
    one = archs[-1]  # alone in its leaf: both nets now go the same way
    some_steps(net, optimiser, [one] * 3)
    some_steps(plain, other, [one] * 3)
    assert net(x, one).equal(plain(x, one))


@pytest.mark.parametrize("kind", OPTIMISERS)
def test_leaves_that_no_step_selected_are_untouched_bit_for_bit(kind: str) -> None:
    mixture, space = FewShot(by="op"), planted()
    net, archs = space.shared(mixture.apply).supernet(0), list(space.enumerate())
    optimiser = OPTIMISERS[kind](net)
    some_steps(net, optimiser, archs)
    for depth in range(2):
        split_now(mixture, space, net, optimiser, depth)
    tree = tree_of(net)
    trained_leaf = tree.leaf(archs[-1])
    before = {leaf: [p.detach().clone() for p in of_leaf(net, leaf)] for leaf in range(4)}
    some_steps(net, optimiser, [archs[-1]] * 3)
    for leaf, weights in before.items():
        same = [p.equal(b) for p, b in zip(of_leaf(net, leaf), weights, strict=True)]
        assert all(same) if leaf != trained_leaf else not any(same)


def of_leaf(net: nn.Module, leaf: int) -> list[Tensor]:
    return [p for module in net.modules() if isinstance(module, ForkedSource) for p in module.weights(leaf)]


def test_restart_draws_both_children_anew_and_forgets_the_averages() -> None:
    space, archs = planted(), list(planted().enumerate())
    for start, fresh in {"inherit": [], "restart": [0, 1], "restart_last": [1]}.items():
        mixture = FewShot(by="op", start=start)
        net = space.shared(mixture.apply).supernet(0)
        optimiser = OPTIMISERS["sgd"](net)
        for depth in range(2):
            some_steps(net, optimiser, archs)
            before = [net(classes().test.inputs, arch) for arch in archs]
            split_now(mixture, space, net, optimiser, depth)
            after = [net(classes().test.inputs, arch) for arch in archs]
            morphism = SplitLeaves(mixture, Setting(net, space, classes(), METHOD, 0), depth)
            assert morphism.exact == (depth not in fresh)
            assert [a.equal(b) for a, b in zip(after, before, strict=True)] == [depth not in fresh] * len(
                archs
            )
            used = [p for leaf in range(2 ** (depth + 1)) for p in of_leaf(net, leaf)]
            assert all((p in optimiser.state) == (depth not in fresh) for p in used)


def test_before_its_first_split_the_supernet_is_the_plain_one() -> None:
    space, data = planted(), classes()
    plain = space.supernet(3)
    train(plain, data, METHOD.schedule(space, data, 3), METHOD, Settings(seed=3))
    net = trained(FewShot(splits=1, at=(0.99,), by="mild"), space, 3)  # before the last of 120 steps
    x = data.test.inputs
    assert tree_of(net).forks()[0] is not None
    same = [net(x, arch).equal(plain(x, arch)) for arch in space.enumerate()]
    assert sum(same) == 4  # those that share a leaf with the last architecture; the others lack its last step


def test_extracted_networks_equal_the_supernet_and_are_plain() -> None:
    space = planted()
    net = trained(FewShot(by="op"), space, method=SHORT).eval()
    x = classes().test.inputs
    for arch in space.enumerate():
        module = extract(net, arch)
        torch.testing.assert_close(module(x), net(x, arch), rtol=0, atol=0)
        assert {type(layer) for layer in module.children()} == {nn.Linear}
        assert sum(p.numel() for p in module.parameters()) == 6 * 8 + 8 + 8 * 8 + 8 + 8 * 3 + 3


def test_a_saved_supernet_is_loaded_into_a_fresh_one_with_its_tree(tmp_path: Path) -> None:
    mixture, space = FewShot(by="op"), planted()
    net, path = trained(mixture, space, method=SHORT), tmp_path / "net.safetensors"
    save_weights(net, path)
    fresh, x = space.shared(mixture.apply).supernet(9), classes().test.inputs
    fresh(x, space.largest())  # has read its own structure
    load_weights(fresh, path)
    assert all(fresh(x, arch).equal(net(x, arch)) for arch in space.enumerate())
    names = [name for name in net.state_dict() if "sharing" in name]
    assert names == ["sharing.choice", "sharing.side"]


def test_a_copy_grows_a_tree_of_its_own() -> None:
    space, x = planted(), classes().test.inputs
    net = space.shared(FewShot(splits=1).apply).supernet(0)
    archs = list(space.enumerate())
    before = [net(x, arch) for arch in archs]
    twin = copy.deepcopy(net)
    tree_of(twin).split(0, "mild", [True])
    with torch.no_grad():
        for weight in of_leaf(twin, 1):
            weight.mul_(1.5)
    assert tree_of(net).forks() == [None]
    assert all(net(x, arch).equal(outputs) for arch, outputs in zip(archs, before, strict=True))
    stayed = [twin(x, arch).equal(outputs) for arch, outputs in zip(archs, before, strict=True)]
    assert stayed == [not arch["mild"] for arch in archs]


@pytest.mark.parametrize("stop", [2, 3, 5, 6, 11])
@pytest.mark.parametrize("start", ["inherit", "restart"])
def test_a_training_that_was_stopped_goes_on_to_the_same_weights_and_tree(
    stop: int, start: str, tmp_path: Path
) -> None:
    def interrupt(done: int, total: int, facts: Mapping[str, float]) -> None:
        if done == stop:
            os.kill(os.getpid(), signal.SIGINT)

    mixture, path = (
        FewShot(start=start, repeats=2, batch=16),
        tmp_path / "checkpoint",
    )  # splits before steps 3, 6
    whole = trained(mixture, planted(), method=SHORT)
    with pytest.raises(KeyboardInterrupt):
        trained(mixture, planted(), method=SHORT, checkpoint=path, pulse=0, progress=interrupt)
    again = trained(mixture, planted(), method=SHORT, checkpoint=path)
    assert equal(again, whole)
    assert tree_of(again).forks() == tree_of(whole).forks()
    with pytest.raises(TrainingError, match="is a checkpoint of another training"):
        trained(replace(mixture, repeats=3), planted(), method=SHORT, checkpoint=path)


def test_looking_for_the_conflict_changes_nothing_but_the_tree() -> None:
    mixture, space = FewShot(repeats=2, batch=16), planted()
    net = space.shared(mixture.apply).supernet(0)
    optimiser = OPTIMISERS["sgd"](net)
    some_steps(net, optimiser, list(space.enumerate()))
    net.last.weight_of_mine = nn.Parameter(torch.ones(2))  # a gradient that somebody else left
    net.last.weight_of_mine.grad = torch.ones(2)
    before, draw = [p.detach().clone() for p in of_leaf(net, 0)], torch.random.get_rng_state()
    split_now(mixture, space, net, optimiser)
    assert all(p.equal(b) for p, b in zip(of_leaf(net, 0), before, strict=True))
    assert torch.random.get_rng_state().equal(draw)
    assert net.last.weight_of_mine.grad.equal(torch.ones(2))
    assert all(p.grad is None for p in of_leaf(net, 0))


def test_phases_are_cut_and_their_weights_go_on_where_they_were() -> None:
    space, steps = planted(), 100
    loss, policy = label_loss(F.cross_entropy), Fixed((planted().largest(),))
    first = Phase(0.3, policy, loss)
    second = Phase(1.0, policy, loss, weight=lambda number, done: number + done)
    schedule = Schedule((first, second), space=space)
    marks = {step: Mark() for step in (10, 30, 51)}
    cut = schedule
    for step, mark in marks.items():
        cut = insert(cut, mark, step, steps)
    for step in range(steps):
        before, after = schedule.at(step, steps), cut.at(step, steps)
        assert (after.policy, after.objective) == (before.policy, before.objective)
        expected = before.weight(1, schedule.done(step, steps))
        assert after.weight(1, cut.done(step, steps)) == pytest.approx(expected)
        entered = after.on_enter if cut.done(step, steps) == 0 else ()
        assert entered == ((marks[step],) if step in marks else ())


class Mark:
    exact = True

    def __call__(self, net: nn.Module, optimiser: Optimizer) -> None:
        """Nothing."""


def test_a_method_with_phases_a_teacher_and_sorted_channels_of_its_own_is_split_too() -> None:
    space, data = planted(), classes()
    method = OFATraining(epochs=5, batch_size=8, warmup=0.3, learning_rate=0.05, order=("op",))
    mixture = FewShot(at=(0.3, 0.6), repeats=2, batch=16)
    net = space.shared(mixture.apply).supernet(0)
    schedule = method.schedule(space, data, 0)
    schedule = mixture.schedule(schedule, Setting(net, space, data, method, 0))
    entered = [[type(m).__name__ for m in phase.on_enter] for phase in schedule.phases]
    assert entered[:2] == [[], ["Capture", "SortChannels", "Split"]]  # the teacher is taken before
    assert sum(names.count("Split") for names in entered) == 2
    train(net, data, schedule, method)
    assert len({tree_of(net).leaf(arch) for arch in space.enumerate()}) == 4


class Image(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = ElasticConv2d(1, 4, 3), ElasticBatchNorm2d(4), ElasticLinear(4, 2)

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        h = self.norm(self.conv(x, arch), arch)
        out: Tensor = self.head((h if arch["op"] == "a" else -h).relu().mean((2, 3)), arch)
        return out


def test_norms_are_part_of_a_leaf_and_chosen_layers_alone_can_be_split() -> None:
    space = ElasticSpace("image", [categorical("op", ("a", "b"))], network=Image, input_shape=(1, 5, 5))
    net = space.shared(FewShot(splits=1).apply).supernet()
    assert len(of_leaf(net, 1)) == len(list(space.supernet().parameters())) == len(of_leaf(net, 0))
    part = space.shared(FewShot(splits=1, layers=("conv",)).apply).supernet()
    assert len(of_leaf(part, 1)) == 1


FAMILIES: dict[str, dict[str, Any]] = {
    "elastic_convnet": {"stages": 1, "depth": (1, 2), "width": (4, 8), "kernel": (1, 3), "expand": (1, 2)},
    "mixpath": {
        "width": (8,),
        "depth": (1,),
        "kernel": (3, 5, 7),
        "expand": (2,),
        "stem": 8,
        "head": 8,
        "norm": "keyed",
    },
    "elastic_vit": {"depth": (1, 2), "width": (16, 24), "heads": (1, 2), "pool": "token"},
    "elastic_lm": {"depth": (1, 2), "width": (16, 24), "input_shape": (6,)},
}


@pytest.mark.parametrize("name", FAMILIES)
def test_built_in_families_compute_the_same_before_and_after_a_split_that_inherits(name: str) -> None:
    shape = {"input_shape": (3, 12, 12), "classes": 5}
    space = nasplat.load("spaces", name)(**shape | FAMILIES[name])
    assert isinstance(space, ElasticSpace)
    net, plain = space.shared(FewShot(by="random").apply).supernet(1).eval(), space.supernet(1).eval()
    x = random_inputs(2, space.input_shape or (), space.vocabulary)
    archs = [space.sample(np.random.default_rng(k)) for k in range(6)]
    before = [plain(x, arch) for arch in archs]
    assert all(net(x, arch).equal(outputs) for arch, outputs in zip(archs, before, strict=True))
    data = Dataset("none", *(Split(x, torch.zeros(2, dtype=torch.long)) for _ in range(3)))
    setting = Setting(net, space, data, METHOD, 0)
    for depth in range(2):
        SplitLeaves(FewShot(by="random"), setting, depth)(net, SGD(net.parameters()))
    assert (tree_of(net).choice >= 0).all()
    assert all(net(x, arch).equal(outputs) for arch, outputs in zip(archs, before, strict=True))
    with torch.no_grad():  # now nothing is shared: each leaf by itself, and all weights belong to one
        for leaf in range(4):
            for weight in of_leaf(net, leaf):
                weight.mul_(1 + leaf / 10)
    for arch in archs:
        torch.testing.assert_close(extract(net, arch)(x), net(x, arch))
        changed = tree_of(net).leaf(arch) > 0
        assert changed != net(x, arch).equal(plain(x, arch))
    everything = {id(p) for leaf in range(4) for p in of_leaf(net, leaf)}
    assert {id(p) for p in net.parameters()} == everything
    visits = Counter(archs)
    for found in atoms(net, visits).values():
        assert sum(found.values()) == len(archs)


def test_two_processes_split_alike_even_where_each_would_choose_otherwise(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", str(Path(__file__).with_name("two_splits.py")), str(tmp_path)]
    processes = [
        subprocess.Popen(command, env=os.environ | where | {"RANK": str(rank)}, stderr=subprocess.PIPE)
        for rank in range(2)
    ]
    said = [process.communicate(timeout=120)[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    main, other = (load_file(tmp_path / f"{rank}.safetensors") for rank in range(2))
    assert all(main[name].equal(other[name]) for name in main)
    assert (main["sharing.choice"] >= 0).all()


def test_what_makes_no_sense_is_told_in_one_line() -> None:
    space, data = planted(), classes()

    def supernet(**arguments: Any) -> nn.Module:
        return space.shared(FewShot(**arguments).apply).supernet()

    with pytest.raises(NasplatError, match="splits = 4: 16 weight sets for 8 architectures; lower it"):
        supernet(splits=4)
    with pytest.raises(NasplatError, match="by = 'milt': planted has no such choice; did you mean 'mild'"):
        supernet(by="milt")
    with pytest.raises(NasplatError, match="splits = 2: mild has only 2 values to split by; lower it"):
        supernet(by="mild")
    with pytest.raises(TrainingError, match=r"at = \[0.5\]: expected 2 rising shares of the steps"):
        FewShot(at=(0.5,))
    with pytest.raises(TrainingError, match="start = fresh: expected one of inherit, restart, restart_last"):
        FewShot(start="fresh")
    net = supernet()
    tiny = replace(METHOD, epochs=1, batch_size=96)
    with pytest.raises(
        TrainingError, match=r"a training of 1 steps is too short for splits before the steps \[0, 0\]"
    ):
        FewShot().schedule(tiny.schedule(space, data, 0), Setting(net, space, data, tiny, 0))
    with pytest.raises(NasplatError, match="has a 'sharing' already: rename it"):
        FewShot().apply(net, space)
    with pytest.raises(InvalidArchitecture, match="use execution 'slice'"):
        net(data.test.inputs, Masks.one_hot(space, space.largest()))
