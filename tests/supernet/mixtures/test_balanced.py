"""Experts that learn which architectures they are for: alike in load, apart in weights, exact when resumed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nasplat as nas
from nasplat.data import CLASSIFICATION, Dataset, Split
from nasplat.elastic import (
    ElasticBatchStatistics2d,
    ElasticConv2d,
    ElasticLinear,
    ElasticSpace,
    Size,
    extract,
)
from nasplat.elastic.weights import memory
from nasplat.elastic.weights.assigned import AssignedRouter, with_expert, without_expert
from nasplat.elastic.weights.replace import places
from nasplat.errors import NasplatError, TrainingError
from nasplat.space import Arch, Space, categorical, ordinal
from nasplat.supernet import (
    Judge,
    Method,
    Phase,
    SandwichTraining,
    Schedule,
    Settings,
    Uniform,
    UniformTraining,
    label_loss,
    save_weights,
    train,
)
from nasplat.supernet.checkpoint import Checkpoint, Progress
from nasplat.supernet.mixtures import Setting
from nasplat.supernet.mixtures.assignment import Assigning, CopyFirst, Ramp, expert_scores
from nasplat.supernet.mixtures.balanced import Balanced
from nasplat.supernet.morphism import _outputs
from nasplat.supernet.place import device_of
from nasplat.supernet.probes import Look, Tally, look, make_probe
from nasplat.supernet.start import load_start


class Net(nn.Module):
    """x (n, 1, 4, 4) -> (n, 3); dropout, and a norm of the batch's statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = (
            ElasticConv2d(1, Size(4, "width"), 3),
            ElasticBatchStatistics2d(Size(4, "width")),
        )
        self.flatten, self.dropout = nn.Flatten(), nn.Dropout(0.2)
        self.pool, self.last = nn.AdaptiveAvgPool2d(1), ElasticLinear(Size(4, "width"), 3, bias=True)

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        x = self.norm(self.conv(x, arch), arch)
        x = x.relu() if arch["act"] == "relu" else x.tanh()
        out: Tensor = self.last(self.dropout(self.flatten(self.pool(x))), arch)
        return out


SPACE = ElasticSpace(
    "small",
    [ordinal("width", (1, 2, 3, 4)), categorical("act", ("relu", "tanh"))],
    network=Net,
    input_shape=(1, 4, 4),
)
METHOD = UniformTraining(epochs=4, batch_size=8, learning_rate=0.1, weight_decay=0.05, per_step=2)  # 12 steps


@pytest.fixture
def data() -> Dataset:
    """24 training images of three classes, told apart by their brightness."""
    rng = torch.Generator().manual_seed(7)
    targets = torch.randint(0, 3, (56,), generator=rng)
    images = torch.randn(56, 1, 4, 4, generator=rng) + targets[:, None, None, None]
    first, second, third = (Split(images[a:b], targets[a:b]) for a, b in ((0, 24), (24, 40), (40, 56)))
    return Dataset("brightness", first, second, third, classes=3)


def router_of(net: nn.Module) -> AssignedRouter:
    router = net.get_submodule("sharing")
    assert isinstance(router, AssignedRouter)
    return router


def prepared(
    mixture: Balanced, data: Dataset, method: Method = METHOD, seed: int = 0
) -> tuple[nn.Module, Schedule]:
    net = SPACE.shared(mixture.apply).supernet(seed)
    setting = Setting(net, SPACE, data, method, 0)
    return net, mixture.schedule(method.schedule(SPACE, data, 0), setting)


def run(
    mixture: Balanced, data: Dataset, method: Method = METHOD, seed: int = 0, **settings: Any
) -> nn.Module:
    net, schedule = prepared(mixture, data, method, seed)
    train(net, data, schedule, method, Settings(pulse=0, **settings))
    return net


def atoms_of(net: nn.Module, expert: int) -> list[Tensor]:
    return [
        p
        for place in places(net)
        for name in place.source.bank.slot.tensors
        for p in [place.source.bank.atoms(name)[expert]]
    ]


def equal(a: nn.Module, b: nn.Module) -> bool:
    return all(x.equal(y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_experts_that_a_step_does_not_select_keep_weights_and_momentum_bit_for_bit(data: Dataset) -> None:
    net, schedule = prepared(Balanced(experts=3), data, replace(METHOD, per_step=1))
    tally, moved, asked = Tally(Balanced(experts=3).trained(SPACE)), [], []
    before = [[p.detach().clone() for p in atoms_of(net, e)] for e in range(3)]

    def compare(done: int, total: int, figures: Mapping[str, float]) -> None:
        after = [[p.detach().clone() for p in atoms_of(net, e)] for e in range(3)]
        same = [all(a.equal(b) for a, b in zip(before[e], after[e], strict=True)) for e in range(3)]
        moved.append([e for e in range(3) if not same[e]])
        asked.append([arch["expert"] for arch in tally.take()])
        before[:] = after

    train(net, data, tally.watch(schedule), METHOD, Settings(pulse=0, progress=compare))
    assert moved == asked  # each moves in its own steps, by momentum and decay too, and in no other
    assert {e for (e,) in asked} == {0, 1, 2}


def planted(mixture: Balanced, data: Dataset) -> Counter[int]:
    """How often each expert is drawn in the middle of the ramp, when expert 0 is best for everyone."""
    net, schedule = prepared(mixture, data)
    router_of(net).scores[:] = torch.tensor([0.9, 0.7, 0.6, 0.5]) + torch.rand(8, 1)
    assigning = schedule.phases[0].policy
    assert isinstance(assigning, Assigning)
    drawn = Counter[int]()
    for seed in range(100):
        for pair in replace(assigning.learner, seed=seed).assign(list(SPACE.enumerate()), 6):
            drawn[int(str(pair["expert"]))] += 1
    return drawn


def test_balancing_loads_experts_alike_where_scores_alone_do_not(data: Dataset) -> None:
    torch.manual_seed(0)
    alike, control = (planted(Balanced(experts=4, balance=b), data) for b in (True, False))
    assert control[0] == 800
    assert all(160 <= alike[e] <= 240 for e in range(4))


def test_probabilities_of_a_row_are_the_frequencies_of_its_experts(data: Dataset) -> None:
    net, schedule = prepared(Balanced(experts=2, temperature=(1, 1)), data)
    router_of(net).scores[:, 0] = torch.linspace(0, 3, 8)
    assigning = schedule.phases[0].policy
    assert isinstance(assigning, Assigning)
    arch = SPACE.largest()
    drawn = [replace(assigning.learner, seed=s).assign([arch], 0)[0]["expert"] for s in range(1000)]
    p = float(router_of(net).probabilities[router_of(net).rows(arch), 1])
    assert abs(sum(e == 1 for e in drawn) / 1000 - p) < 4 * (p * (1 - p) / 1000) ** 0.5


@dataclass
class Verdicts:
    """A judge whose validation scores are given, and that keeps who was asked about."""

    scores: list[float]
    asked: list[Arch] = field(default_factory=list)

    def __call__(self, arch: Arch) -> Tensor:
        raise AssertionError("nobody asks for losses")

    def validate(self, arch: Arch) -> Tensor:
        self.asked.append(arch)
        return torch.tensor(self.scores.pop(0))


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_scores_follow_what_the_pairs_of_the_step_before_got_on_validation(
    data: Dataset, direction: str
) -> None:
    data = replace(data, task=replace(CLASSIFICATION, direction=direction))
    net, schedule = prepared(Balanced(experts=2, feedback=0.25), data)
    policy, router = schedule.phases[0].policy, router_of(net)
    expected, sign = torch.ones(8, 2), 1 if direction == "maximize" else -1
    before: list[Arch] = []
    for step in range(4):
        judge = Verdicts([0.5, 0.25] if step else [])
        for arch, score in zip(before, (0.5, 0.25), strict=False):
            row, expert = router.rows(arch), int(str(arch["expert"]))
            expected[row, expert] = 0.75 * expected[row, expert] + 0.25 * sign * score
        pairs = policy.ask(step, judge)
        assert judge.asked == before
        torch.testing.assert_close(router.scores, expected)
        before = pairs


def test_probabilities_are_of_the_scores_as_they_are_now(data: Dataset) -> None:
    net, schedule = prepared(Balanced(experts=3), data)
    router, policy = router_of(net), schedule.phases[0].policy
    for step in (0, 5, 11):
        router.scores.uniform_()
        policy.ask(step, Verdicts([0.5, 0.5]))
        torch.testing.assert_close(router.probabilities.mean(0), torch.full((3,), 1 / 3), rtol=1e-4, atol=0)


def test_temperature_goes_linearly_over_the_steps_in_which_experts_differ() -> None:
    ramp = Ramp(1.0, 100.0, begin=3, end=13)
    assert [ramp(step) for step in (3, 6, 12)] == [1.0, 34.0, 100.0]
    assert Ramp(1.0, 100.0, begin=0, end=1)(0) == 1.0


def test_policies_inside_are_told_of_what_they_asked_for(data: Dataset) -> None:
    told: list[Sequence[Arch]] = []

    class Inner(Uniform):
        def tell(self, archs: Sequence[Arch], losses: Sequence[Tensor]) -> None:
            told.append(archs)

    net, _ = prepared(Balanced(experts=2), data)
    inner = Inner(SPACE, 3)
    schedule = Schedule((Phase(1.0, inner, label_loss(F.cross_entropy)),))
    mixed = Balanced(experts=2).schedule(schedule, Setting(net, SPACE, data, METHOD, 0)).phases[0].policy
    pairs = mixed.ask(3, Verdicts([]))
    mixed.tell(pairs, [torch.zeros(())] * 3)
    assert told == [inner.ask(3, Verdicts([]))]
    assert all("expert" in pair for pair in pairs)


def test_one_expert_is_the_plain_supernet(data: Dataset) -> None:
    plain = SPACE.supernet(0)
    train(plain, data, METHOD.schedule(SPACE, data, 0), METHOD)
    x = data.test.inputs
    mixed = run(Balanced(experts=1), data).eval()
    for arch in SPACE.enumerate():
        assert mixed(x, arch).equal(plain.eval()(x, arch))


def test_a_first_share_of_the_steps_trains_one_expert_that_all_start_from(data: Dataset) -> None:
    mixture, method = Balanced(experts=3, shared=0.4), replace(METHOD, warmup=0.25)  # from step 4 of 12
    net, schedule = prepared(mixture, data, method)
    assert [phase.until for phase in schedule.phases] == [0.25, pytest.approx(4 / 12), 1.0]
    tally, states = Tally(mixture.trained(SPACE)), []
    copied = schedule.phases[2].on_enter
    assert copied == (CopyFirst(),)

    class Spy:
        exact = True

        def __call__(self, net: nn.Module, optimiser: torch.optim.Optimizer) -> None:
            for e in (1, 2):
                for ours, first in zip(atoms_of(net, e), atoms_of(net, 0), strict=True):
                    assert ours.equal(first)
                    a, b = (optimiser.state[p]["momentum_buffer"] for p in (ours, first))
                    assert a.equal(b)
                    assert a is not b
                    states.append(e)

    last = replace(schedule.phases[2], on_enter=(*copied, Spy()))
    watched = tally.watch(replace(schedule, phases=(*schedule.phases[:2], last)))
    train(net, data, watched, method)
    asked = [arch["expert"] for arch in tally.take()]
    assert asked[:5] == [0] * 5  # three steps of the largest one, then one of two architectures
    assert {0, 1, 2} == set(asked[5:])
    assert len(states) == 2 * len(atoms_of(net, 0))


@dataclass
class Learning:
    """A policy that learns: it asks for what it was told had the larger loss."""

    best: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.long))
    told: int = 0

    def ask(self, step: int, judge: Judge) -> list[Arch]:
        archs = list(SPACE.enumerate())
        return [archs[int(self.best)], archs[step % 8]]

    def tell(self, archs: Sequence[Arch], losses: Sequence[Tensor]) -> None:
        self.told += 1
        self.best = torch.tensor(list(SPACE.enumerate()).index(archs[int(losses[1] > losses[0])]))

    def state(self) -> dict[str, Tensor]:
        return {"best": self.best} if self.told else {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.best, self.told = state["best"], 1


@dataclass(frozen=True, slots=True)
class LearningMethod(UniformTraining):
    def schedule(self, space: Space, data: Dataset, seed: int) -> Schedule:
        loss, policy = label_loss(F.cross_entropy), Learning()
        return Schedule(
            (Phase(0.3, policy, loss), Phase(0.6, Uniform(space), loss), Phase(1.0, policy, loss))
        )


@pytest.mark.parametrize("stop", [2, 5, 6, 9])
@pytest.mark.parametrize("method", [SandwichTraining, LearningMethod])
def test_a_training_that_was_stopped_goes_on_to_the_same_weights_and_scores(
    data: Dataset, tmp_path: Path, stop: int, method: type[Method]
) -> None:
    recipe, mixture = method(epochs=4, batch_size=8), Balanced(experts=3, shared=0.35)  # experts from step 4

    def interrupt(done: int, total: int, figures: Mapping[str, float]) -> None:
        if done == stop:
            raise KeyboardInterrupt

    whole = run(mixture, data, recipe)
    with pytest.raises(KeyboardInterrupt):
        run(mixture, data, recipe, checkpoint=tmp_path / "c", save_every=0, progress=interrupt)
    assert equal(run(mixture, data, recipe, seed=1, checkpoint=tmp_path / "c"), whole)


def test_another_mixture_is_another_training(data: Dataset, tmp_path: Path) -> None:
    run(Balanced(experts=2), data, checkpoint=tmp_path / "c")
    with pytest.raises(TrainingError, match="is a checkpoint of another training"):
        run(Balanced(experts=2, balance=False), data, checkpoint=tmp_path / "c")


def test_the_load_probe_counts_experts_and_their_rows(data: Dataset) -> None:
    mixture = Balanced(experts=2)
    net, schedule = prepared(mixture, data)
    tally = Tally(mixture.trained(SPACE))
    train(net, data, tally.watch(schedule), METHOD)
    asked = tally.take()
    told = look(Look(net, SPACE, data, 4, asked=asked), make_probe("load"))
    counted = Counter(str(arch["expert"]) for arch in asked)
    assert told["experts"] == dict(sorted(counted.items()))
    assert told["architectures"] == 24
    owners = Counter(router_of(net).expert(arch) for arch in SPACE.enumerate())
    assert told["owned"] == {"0": owners[0], "1": owners[1]}
    assert sum(told["macs"].values()) == 24
    plain = look(Look(SPACE.supernet(), SPACE, data, 4, asked=[SPACE.largest()]), make_probe("load"))
    assert "experts" not in plain


def test_what_is_needed_is_the_memory_of_the_whole_supernet_in_training(
    data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixture = Balanced(experts=5)
    with torch.device("meta"):
        blueprint = SPACE.shared(mixture.apply).supernet()
    needed = 3 * sum(p.nbytes for p in blueprint.parameters())
    space = SPACE.shared(mixture.apply)
    monkeypatch.setattr(memory, "machine_memory", lambda: needed)
    space.supernet()
    monkeypatch.setattr(memory, "machine_memory", lambda: needed - 1)
    with pytest.raises(
        NasplatError, match=r"^5 experts need .* GiB of memory .*, and this machine has .* GiB: take"
    ):
        space.supernet()


@pytest.mark.parametrize(
    ("mixture", "line"),
    [
        (Balanced(experts=9), "experts = 9: small has 8 combinations of width, act; give at most 8"),
        (
            Balanced(experts=3, choices=("act",)),
            "experts = 3: small has 2 combinations of act; give at most 2",
        ),
        (Balanced(choices=("width1",)), r"small has no choice 'width1'; did you mean 'width'\?"),
        (Balanced(layers=("blocks.*",)), r"no elastic layer matches 'blocks\.\*'"),
    ],
)
def test_what_does_not_fit_the_space_is_one_line(mixture: Balanced, line: str) -> None:
    with pytest.raises(NasplatError, match=f"^{line}") as told:
        SPACE.shared(mixture.apply).supernet()
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ({"experts": 0}, "experts = 0: expected at least 1"),
        ({"feedback": 0.0}, "feedback = 0.0: expected above 0"),
        ({"temperature": (-1.0, 1.0)}, r"temperature = \[-1.0, 1.0\]: expected two numbers"),
        ({"temperature": (1.0, float("inf"))}, r"temperature = \[1.0, inf\]: expected two numbers"),
        ({"temperature": (float("nan"), 1.0)}, r"temperature = \[nan, 1.0\]: expected two numbers"),
        ({"shared": 1.0}, "shared = 1.0: expected 0 to below 1"),
    ],
)
def test_settings_that_mean_nothing_are_refused(table: dict[str, Any], line: str) -> None:
    with pytest.raises(TrainingError, match=line):
        Balanced(**table)


def test_data_without_validation_examples_is_refused_before_the_training(data: Dataset) -> None:
    none = Split(data.validation.inputs[:0], data.validation.targets[:0])
    with pytest.raises(TrainingError, match=r"^brightness has no validation examples, by whose score"):
        prepared(Balanced(experts=2), replace(data, validation=none))


def test_a_space_with_a_choice_of_that_name_is_refused() -> None:
    space = ElasticSpace("odd", [*SPACE.choices, ordinal("expert", (1, 2))], network=Net)
    with pytest.raises(NasplatError, match="two choices are named 'expert'"):
        space.shared(Balanced(experts=2).apply).supernet()


def test_inputs_of_a_network_whose_weights_are_streamed_belong_where_they_are_used() -> None:
    net = SPACE.shared(Balanced(experts=2, stream=True).apply).supernet().to("meta")
    assert all(parameter.device.type == "cpu" for parameter in net.parameters())
    assert device_of(net).type == "meta"
    outputs = _outputs(net, SPACE)
    assert outputs is not None
    assert outputs.device.type == "meta"
    assert device_of(SPACE.supernet()).type == "cpu"


def test_what_a_part_learned_is_restored_on_the_device_of_the_training(tmp_path: Path) -> None:
    net, given = SPACE.shared(Balanced(experts=2, stream=True).apply).supernet(), Learning(told=1)
    optimiser = torch.optim.SGD(net.parameters())
    here, there = (torch.device(name) for name in ("cpu", "meta"))
    Checkpoint(net, optimiser, {"p": given}, tmp_path / "c", "one", here).save(Progress())
    taken = Learning()
    Checkpoint(net, optimiser, {"p": taken}, tmp_path / "c", "one", there).load()
    assert taken.best.device == there


def test_streamed_experts_learn_the_same(data: Dataset) -> None:
    resident, streamed = (run(Balanced(experts=2, stream=stream), data) for stream in (False, True))
    assert equal(resident, streamed)


def families() -> list[tuple[ElasticSpace, Dataset]]:
    digits = nas.load_data("digits")
    sizes: dict[str, Any] = {"stages": 1, "depth": [1, 2], "width": [4, 8], "kernel": [1, 3]}
    convnet = nas.load("spaces", "elastic_convnet")(input_shape=(1, 8, 8), classes=10, **sizes)
    layouts = nas.load("spaces", "pooling")(input_shape=(1, 8, 8), classes=10, body=[8, 8, 16, 16])
    return [(convnet, digits), (layouts, digits)]


@pytest.mark.parametrize("number", [0, 1])
def test_digits_are_learned_and_a_subnet_comes_out_as_its_best_expert_says(number: int) -> None:
    space, data = families()[number]
    mixture, method = (
        Balanced(experts=2, choices=(space.choices[0].name,)),
        UniformTraining(epochs=4, batch_size=32),
    )
    shared = space.shared(mixture.apply)
    net = shared.supernet()
    phases = mixture.schedule(method.schedule(shared, data, 0), Setting(net, shared, data, method, 0))
    train(net, data, phases, method)
    batches = [data.train.inputs[:256]]
    at = Look(net.eval(), shared, data, 0, calibration=batches)
    scores = expert_scores(at, shared.largest())
    assert max(scores) > 0.3  # chance is 0.1
    assert len(set(scores)) == 2
    x = data.test.inputs[:20]
    for arch in (shared.smallest(), shared.largest()):
        module = extract(net, arch)
        torch.testing.assert_close(module(x), net(x, arch), rtol=1e-5, atol=1e-5)
        owner = router_of(net).expert(arch)
        torch.testing.assert_close(module(x), net(x, with_expert(arch, owner)), rtol=1e-5, atol=1e-5)
        plain = {name: tensor.shape for name, tensor in space.build(arch).state_dict().items()}
        assert {name: tensor.shape for name, tensor in module.state_dict().items()} == plain


def test_all_experts_start_from_the_weights_of_a_file(tmp_path: Path) -> None:
    net, other = SPACE.shared(Balanced(experts=3).apply).supernet(), SPACE.supernet(seed=5)
    save_weights(extract(other, SPACE.largest()), tmp_path / "start.safetensors")
    load_start(net, SPACE, tmp_path / "start.safetensors")
    x = torch.randn(5, 1, 4, 4)
    for arch in SPACE.enumerate():
        for expert in range(3):
            assert net.eval()(x, with_expert(arch, expert)).equal(other.eval()(x, arch))
    assert router_of(net).scores.equal(torch.ones(8, 3))


def test_experts_go_into_an_architecture_and_out_of_it() -> None:
    arch = SPACE.largest()
    assert without_expert(with_expert(arch, 3)) == arch
    assert Balanced(experts=4).trained(SPACE).arch(with_expert(arch, 3)) == with_expert(arch, 3)
