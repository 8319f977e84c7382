"""Every method trains through the one loop and resumes exactly; each equals its control where its formula says so."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nasplat import load
from nasplat.data import Dataset, Split, load_data
from nasplat.elastic import ElasticSpace, extract, recalibrate
from nasplat.errors import TrainingError
from nasplat.space import Arch, Space, categorical, ordinal
from nasplat.supernet import METHODS, FrozenLargest, Method, Settings, train
from nasplat.supernet.methods.deps import Rise
from nasplat.supernet.methods.depth_ratio import shallow_archs
from nasplat.supernet.methods.ofa import OFATraining
from nasplat.supernet.morphism import SortChannels
from nasplat.supernet.teacher import Capture, calibration_batches

TINY = {"epochs": 4, "batch_size": 32, "learning_rate": 0.1}  # 20 steps


@pytest.fixture(scope="module")
def digits() -> Dataset:
    """160 digits to train on."""
    data = load_data("translated_digits", canvas=10, clutter=0, noise=0.0, copies=1)
    return replace(data, train=Split(data.train.inputs[:160], data.train.targets[:160]))


@pytest.fixture(scope="module")
def convnets(digits: Dataset) -> ElasticSpace:
    space: ElasticSpace = load("spaces", "elastic_convnet")(
        input_shape=digits.input_shape, classes=10, stages=1, depth=(1, 2), width=(4, 8), kernel=(1, 3)
    )
    return space


def deaf(arch: Arch) -> Tensor:
    raise AssertionError("these policies ask nobody")


def trained(method: Method, space: ElasticSpace, data: Dataset, seed: int = 0, **settings: Any) -> nn.Module:
    """Each run starts from the network of its seed; only a checkpoint can make two seeds equal."""
    net = space.supernet(seed)
    train(net, data, method.schedule(space, data, 0), method, Settings(pulse=0, **settings))
    return net


def equal(a: nn.Module, b: nn.Module) -> bool:
    return all(x.equal(y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_resumes_to_the_same_weights(
    name: str, convnets: ElasticSpace, digits: Dataset, tmp_path: Path
) -> None:
    method, path = METHODS[name](**TINY), tmp_path / "checkpoint"

    def interrupt(done: int, total: int, facts: Mapping[str, float]) -> None:
        if done == 0.7 * total // 1:
            os.kill(os.getpid(), signal.SIGINT)

    whole = trained(method, convnets, digits)
    with pytest.raises(KeyboardInterrupt):
        trained(method, convnets, digits, checkpoint=path, progress=interrupt)
    assert equal(trained(method, convnets, digits, seed=1, checkpoint=path), whole)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_names_a_control_that_can_be_run(
    name: str, convnets: ElasticSpace, digits: Dataset
) -> None:
    table = dict(METHODS[name].control)
    control = METHODS[table.pop("method")](**table)
    assert control.schedule(convnets, digits, 0).phases[-1].until == 1


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_can_start_with_the_largest_alone(
    name: str, convnets: ElasticSpace, digits: Dataset
) -> None:
    plain, warm = (METHODS[name](warmup=share).schedule(convnets, digits, 0) for share in (0.0, 0.3))
    assert warm.phases[0].until == 0.3
    assert warm.at(0, 10).policy.ask(0, deaf) == [convnets.largest()]
    assert [p.until for p in warm.phases[1:]] == pytest.approx([0.3 + 0.7 * p.until for p in plain.phases])
    assert plain.identity == warm.identity == convnets.hash


SAME = [
    ("bignas", {}, "sandwich", {"alpha": 1.0}),
    ("deps", {"warmup": 0.0, "eps0": 1.0}, "bignas", {}),
    (
        "depth_ratio",
        {"first": 0.4, "last": 0.4, "parts": 7},
        "depth_ratio",
        {"first": 0.4, "last": 0.4, "parts": 1},
    ),
    ("ofa", {"order": ["depth"]}, "ofa", {"order": ["depth", "width", "kernel"]}),
]


@pytest.mark.parametrize(("name", "table", "other", "others"), SAME, ids=[f"{s[0]} and {s[2]}" for s in SAME])
def test_settings_that_mean_the_same_give_the_same_weights(
    name: str,
    table: dict[str, Any],
    other: str,
    others: dict[str, Any],
    convnets: ElasticSpace,
    digits: Dataset,
) -> None:
    ours, theirs = METHODS[name](**TINY, **table), METHODS[other](**TINY, **others)
    assert equal(trained(ours, convnets, digits), trained(theirs, convnets, digits))


def test_alphanet_at_one_is_distillation_and_elsewhere_not(convnets: ElasticSpace, digits: Dataset) -> None:
    def weights(name: str, **table: Any) -> Tensor:
        net = trained(METHODS[name](**TINY | {"epochs": 1}, **table), convnets, digits)
        return torch.cat([p.detach().flatten() for p in net.parameters()])

    kl = weights("bignas", clip_value=1.0)
    torch.testing.assert_close(weights("alphanet", low=1.0, high=1.0), kl, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(weights("alphanet"), kl, rtol=1e-2, atol=1e-3)


def test_the_others_gain_weight_linearly_in_delayed_shrinking(
    convnets: ElasticSpace, digits: Dataset
) -> None:
    warmup, shrinking = METHODS["deps"]().schedule(convnets, digits, 0).phases
    assert warmup.until == 0.5
    assert shrinking.weight == Rise(1e-3, 0.25, count=4)
    rise = Rise(0.2, 0.5, count=5)
    for done, eps in ((0.0, 0.2), (0.25, 0.6), (0.5, 1.0), (0.9, 1.0)):
        weights = [rise(number, done) for number in range(5)]
        assert sum(weights) == pytest.approx(5)  # a weighted mean
        assert [w / weights[0] for w in weights] == pytest.approx([1, eps, eps, eps, eps])


def test_delayed_shrinking_goes_from_the_gradient_of_the_largest_to_that_of_the_mean() -> None:
    rise = Rise(0.0, 1.0, count=4)
    assert [rise(number, 0.0) / 4 for number in range(4)] == [1, 0, 0, 0]
    assert [rise(number, 1.0) / 4 for number in range(4)] == [0.25] * 4


@pytest.mark.parametrize("random", [0, 1, 3])
def test_delayed_shrinking_counts_the_architectures_of_its_steps(
    random: int, convnets: ElasticSpace, digits: Dataset
) -> None:
    shrinking = METHODS["deps"](random=random).schedule(convnets, digits, 0).phases[-1]
    assert isinstance(shrinking.weight, Rise)
    assert shrinking.weight.count == len(shrinking.policy.ask(3, deaf))


def test_the_share_of_the_full_network_falls_linearly(convnets: ElasticSpace, digits: Dataset) -> None:
    method = METHODS["depth_ratio"](first=0.9, last=0.1, parts=4)
    schedule = method.schedule(convnets, digits, 0)
    asked = [schedule.at(step, 4000).policy.ask(step, deaf) for step in range(4000)]
    full = [float(archs == [convnets.largest()]) for archs in asked]
    shares = [sum(full[part * 1000 : part * 1000 + 1000]) / 1000 for part in range(4)]
    assert shares == pytest.approx([0.8, 0.6, 0.4, 0.2], abs=0.05)


def test_shallow_networks_lie_at_equal_distances_and_keep_all_other_choices_at_their_largest() -> None:
    space = Space(
        "deep",
        [
            ordinal("depth1", range(1, 10)),
            ordinal("depth2", (2, 3, 4)),
            ordinal("width", (8, 16)),
            ordinal("kernel2_4", (3, 5), when={"depth2": (4,)}),
        ],
    )
    archs = shallow_archs(space, 4)
    assert [arch["depth1"] for arch in archs] == [7, 5, 3, 1]
    assert [arch["depth2"] for arch in archs] == [4, 3, 2, 2]
    assert {arch["width"] for arch in archs} == {16}
    assert [arch.get("kernel2_4") for arch in archs] == [5, None, None, None]
    for arch in archs:
        space.validate(arch)


def test_a_space_without_depth_is_refused_by_depth_ratio(digits: Dataset) -> None:
    space = Space("flat", [ordinal("width", (4, 8)), ordinal("depth", (2,))])
    with pytest.raises(TrainingError, match=r"^depth_ratio needs a choice of depth, and flat has none"):
        METHODS["depth_ratio"]().schedule(space, digits, 0)


OPEN = Space(
    "open",
    [
        ordinal("width1", (8, 16, 32)),
        ordinal("depth1", (1, 2, 3)),
        ordinal("kernel1_1", (3, 5)),
        ordinal("kernel1_3", (3, 5, 7), when={"depth1": (3,)}),
        categorical("act", ("relu", "gelu", "silu")),
    ],
)


def test_shrinking_opens_kind_after_kind_from_the_largest_values_down() -> None:
    largest = {"width1": (32,), "depth1": (3,), "kernel1_1": (5,), "kernel1_3": (7,), "act": ("relu",)}
    steps: list[dict[str, tuple[Any, ...]]] = [
        {"kernel1_1": (3, 5), "kernel1_3": (5, 7)},
        {"kernel1_1": (3, 5), "kernel1_3": (3, 5, 7)},
        {"depth1": (2, 3)},
        {"depth1": (1, 2, 3)},
        {"width1": (16, 32)},
        {"width1": (8, 16, 32)},
        {"act": ("relu", "gelu", "silu")},
    ]
    openings = list(OFATraining().openings(OPEN))
    before = dict(largest)
    for opening, step in zip(openings, steps, strict=True):
        assert {c.name: c.values for c in opening.before.choices} == before
        before |= step
        assert {c.name: c.values for c in opening.space.choices} == before
    assert openings[-1].space.hash == OPEN.hash
    assert [o.number for o in openings] == [0, 0, 1, 1, 2, 2, 3]
    lengths = [o.length for o in openings]
    assert lengths[0] / lengths[1] == pytest.approx(0.2)
    assert [sum(lengths[k : k + 2]) for k in (0, 2, 4)] == pytest.approx([lengths[6]] * 3)


def test_shrinking_asks_more_architectures_a_step_kind_by_kind_and_sorts_before_each_phase(
    digits: Dataset,
) -> None:
    warmup, *phases = METHODS["ofa"](per_step=(1, 3)).schedule(OPEN, digits, 0).phases
    assert [len(phase.policy.ask(9, deaf)) for phase in phases] == [1, 1, 3, 3, 3, 3, 3]
    assert phases[-1].until == 1
    assert warmup.on_enter == ()
    teachers = {id(phase.teacher) for phase in phases}
    assert len(teachers) == 1
    for phase, opening in zip(phases, OFATraining().openings(OPEN), strict=True):
        assert [type(morphism) for morphism in phase.on_enter] == [Capture, SortChannels]
        assert phase.on_enter[1].trained.hash == opening.before.hash
        assert all(morphism.exact for morphism in phase.on_enter)
    bare = METHODS["ofa"](sort=False, distil=0.0).schedule(OPEN, digits, 0)
    assert {phase.on_enter for phase in bare.phases} == {()}


def test_an_order_of_kinds_that_the_space_does_not_have_is_refused(digits: Dataset) -> None:
    with pytest.raises(
        TrainingError, match=r"open has no such kind of choice; did you mean 'kernel'\? known"
    ):
        METHODS["ofa"](order=("kernle",)).schedule(OPEN, digits, 0)
    with pytest.raises(TrainingError, match="still has no such kind of choice; known: none"):
        METHODS["ofa"](order=()).schedule(Space("still", []), digits, 0)


def test_a_frozen_teacher_stays_what_it_was_and_comes_back_from_its_state(convnets: ElasticSpace) -> None:
    net, x = convnets.supernet(3).train(), torch.randn(4, 1, 10, 10)
    for tensor in net.buffers():
        tensor.uniform_(0.5, 1.5)
    teacher = FrozenLargest(convnets)
    with pytest.raises(TrainingError, match="put Capture"):
        teacher(x, None)
    assert teacher.state() == {}
    said = extract(net.eval(), convnets.largest())(x)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    Capture(teacher)(net.train(), optimiser)
    assert net.training
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(1.0)
    Capture(teacher)(net, optimiser)  # a later phase keeps what an earlier one has captured
    taught = teacher(x, None)
    assert taught is not None
    assert taught.equal(said)
    assert not taught.requires_grad
    again = FrozenLargest(convnets)
    again.restore(teacher.state())
    assert torch.equal(again(x, None), taught)  # type: ignore[arg-type]


@pytest.mark.parametrize("execution", ["slice", "mask"])
def test_the_teacher_that_shrinking_captures_has_statistics_of_its_own(
    execution: str, convnets: ElasticSpace, digits: Dataset
) -> None:
    method = METHODS["ofa"](epochs=30, batch_size=32, learning_rate=0.1, warmup=0.9)
    schedule, net = method.schedule(convnets, digits, 0), convnets.supernet(0)
    teacher, found = schedule.phases[-1].teacher, list[nn.Module]()
    assert isinstance(teacher, FrozenLargest)

    def look(net: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        found.append(extract(net.eval(), convnets.largest()))
        net.train()

    first = replace(schedule.phases[1], on_enter=(look, *schedule.phases[1].on_enter))  # type: ignore[arg-type]
    schedule = replace(schedule, phases=(schedule.phases[0], first, *schedule.phases[2:]))
    train(net, digits, schedule, method, Settings(execution=execution))
    said = teacher(digits.train.inputs, None)
    recalibrate(found[0], calibration_batches(digits.train, 0))
    with torch.no_grad():
        torch.testing.assert_close(said, found[0].eval()(digits.train.inputs))
    assert said is not None
    right = (said.argmax(1) == digits.train.targets).float().mean()
    assert right > 0.5


def test_calibration_is_of_full_batches_of_different_examples() -> None:
    train = Split(torch.arange(150.0).view(150, 1), torch.zeros(150))
    one, two, other = (calibration_batches(train, seed) for seed in (0, 0, 1))
    assert [len(batch) for batch in one] == [64, 64]
    assert len(set(torch.cat(one).flatten().tolist())) == 128
    assert all(a.equal(b) for a, b in zip(one, two, strict=True))
    assert not one[0].equal(other[0])
    few = Split(train.inputs[:5], train.targets[:5])
    assert [len(batch) for batch in calibration_batches(few, 0)] == [5]
    assert len(calibration_batches(train, 0, size=8)) == 8


@pytest.mark.parametrize(
    ("name", "field", "value", "expected"),
    [
        ("alphanet", "random", -1, "0 or more"),
        ("alphanet", "low", 2.0, "a number up to high = 1.0"),
        ("alphanet", "low", -math.inf, "a number up to"),
        ("alphanet", "high", math.inf, "a number"),
        ("alphanet", "clip_ratio", 0.5, "a number from 1 on"),
        ("deps", "eps0", 1.5, "0 to 1"),
        ("deps", "rise", 0.0, "above 0 to 1"),
        ("deps", "alpha", 2.0, "0 to 1"),
        ("ofa", "order", ("width", "width"), "each kind once"),
        ("ofa", "per_step", (), "a list of numbers from 1 on"),
        ("ofa", "per_step", (1, 0), "a list of numbers from 1 on"),
        ("ofa", "early", 0.0, "more than 0"),
        ("ofa", "distil", -1.0, "0 or more"),
        ("depth_ratio", "first", 1.5, "0 to 1"),
        ("depth_ratio", "last", -0.1, "0 to 1"),
        ("depth_ratio", "shallow", 0, "at least 1"),
        ("depth_ratio", "parts", 0, "at least 1"),
    ],
)
def test_an_impossible_setting_of_a_method_is_refused_in_one_line(
    name: str, field: str, value: Any, expected: str
) -> None:
    with pytest.raises(TrainingError, match=rf"^{field} = .*: expected {expected}"):
        METHODS[name](**{field: value})


@pytest.mark.parametrize("name", ["bignas", "alphanet", "deps", "ofa"])
def test_distillation_is_refused_without_classes(name: str, digits: Dataset) -> None:
    with pytest.raises(TrainingError, match="needs a classification, and 'translated_digits' has no classes"):
        METHODS[name]().schedule(OPEN, replace(digits, classes=None), 0)
