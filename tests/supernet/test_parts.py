"""Policies, objectives, schedules and methods, each against its formula."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nasplat.data import Dataset, Split, generator
from nasplat.errors import TrainingError
from nasplat.space import Arch, Space, categorical, ordinal
from nasplat.supernet import (
    METHODS,
    Fixed,
    Phase,
    Recipe,
    Sandwich,
    SandwichTraining,
    Schedule,
    Uniform,
    distillation,
    in_place,
    label_loss,
    learning_rate,
    no_teacher,
)
from nasplat.supernet.feed import Feed
from nasplat.supernet.methods import training_loss
from nasplat.supernet.recipe import make_optimiser


def deaf(arch: Arch) -> Tensor:
    raise AssertionError("these policies ask nobody")


WIDE = Space("wide", [ordinal("width", range(1, 9)), categorical("act", ("relu", "gelu"))])


def test_a_sandwich_is_the_largest_the_smallest_and_random_ones_between() -> None:
    archs = Sandwich(WIDE, random=3, seed=1).ask(4, deaf)
    assert archs[:2] == [WIDE.largest(), WIDE.smallest()]
    assert archs[2:] == Uniform(WIDE, 3, seed=1).ask(4, deaf)
    assert len(Sandwich(WIDE, random=0).ask(0, deaf)) == 2


def test_what_a_policy_asks_depends_on_seed_and_step_only() -> None:
    policy = Uniform(WIDE, n=4, seed=2)
    assert policy.ask(3, deaf) == policy.ask(3, deaf) == Uniform(WIDE, n=4, seed=2).ask(3, deaf)
    assert policy.ask(3, deaf) != policy.ask(4, deaf)
    assert policy.ask(3, deaf) != replace(policy, seed=3).ask(3, deaf)


def test_uniform_asks_for_every_value_equally_often() -> None:
    asked = [arch["width"] for step in range(400) for arch in Uniform(WIDE, n=2).ask(step, deaf)]
    counts = [asked.count(width) for width in range(1, 9)]
    assert sum((c - 100) ** 2 / 100 for c in counts) < 24.3  # chi-squared, 7 degrees of freedom, p = 0.001


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), alpha=st.floats(0, 1), temperature=st.floats(0.5, 8))
def test_distillation_equals_its_formula(seed: int, alpha: float, temperature: float) -> None:
    student, teacher = torch.randn(2, 5, 3, generator=generator(seed)).double()
    targets = torch.randint(3, (5,), generator=generator(seed, 1))
    value = distillation(F.cross_entropy, alpha=alpha, temperature=temperature)(student, targets, teacher)
    expected = 0.0
    for s, t, y in zip(student.tolist(), teacher.tolist(), targets.tolist(), strict=True):
        p = [math.exp(v / temperature) / sum(math.exp(w / temperature) for w in t) for v in t]
        q = [math.exp(v / temperature) / sum(math.exp(w / temperature) for w in s) for v in s]
        kl = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
        cross = math.log(sum(math.exp(v) for v in s)) - s[y]
        expected += ((1 - alpha) * cross + alpha * temperature**2 * kl) / 5
    assert float(value) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_without_a_teacher_distillation_is_the_label_loss() -> None:
    outputs, targets = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    expected = F.cross_entropy(outputs, targets)
    for objective in (label_loss(F.cross_entropy), distillation(F.cross_entropy, alpha=1.0)):
        assert objective(outputs, targets, None).equal(expected)
    assert no_teacher(outputs, outputs) is None
    assert in_place(outputs, None) is None
    assert in_place(outputs, outputs) is outputs


def test_label_smoothing_mixes_the_target_with_all_classes(data: Dataset) -> None:
    outputs, targets = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    logs = outputs.log_softmax(1)
    expected = -(0.8 * logs[range(4), targets] + 0.2 * logs.mean(1)).mean()
    torch.testing.assert_close(training_loss(data, Recipe(label_smoothing=0.2))(outputs, targets), expected)
    assert training_loss(data, Recipe()) is data.task.loss


def phases(*ends: float) -> Schedule:
    return Schedule(tuple(Phase(end, Fixed((WIDE.largest(),)), label_loss(F.mse_loss)) for end in ends))


def test_phases_change_at_their_share_of_the_steps() -> None:
    schedule = phases(0.25, 0.7, 1.0)
    met = [schedule.phases.index(schedule.at(step, 10)) for step in range(10)]
    assert met == [0, 0, 1, 1, 1, 1, 1, 2, 2, 2]  # 2.5 rounds to 2, the even one
    assert schedule.at(0, 1) is schedule.phases[1]


@pytest.mark.parametrize("ends", [(), (0.5,), (0.0, 1.0), (0.7, 0.3, 1.0), (0.5, 0.5, 1.0), (0.5, 1.5)])
def test_phases_that_do_not_fill_the_training_are_refused(ends: tuple[float, ...]) -> None:
    with pytest.raises(TrainingError, match="expected rising shares above 0, the last 1"):
        phases(*ends)


def test_the_learning_rate_rises_linearly_and_falls_as_half_a_cosine() -> None:
    rates = [learning_rate(s, 12, peak=0.4, ramp=1 / 3) for s in range(12)]
    assert rates[:4] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert rates[4:] == pytest.approx([0.2 * (1 + math.cos(math.pi * k / 8)) for k in range(8)])
    assert rates[8] == pytest.approx(0.2)
    assert learning_rate(0, 5, peak=0.4, ramp=0.0) == 0.4


def test_a_feed_shows_each_example_once_an_epoch_in_an_order_of_its_own() -> None:
    split = Split(torch.arange(10).float().view(10, 1), torch.arange(10))
    data = Dataset("numbers", split, split, split)
    feed = Feed(data, 3, seed=1, device=torch.device("cpu"))
    assert feed.steps_per_epoch == 3
    epochs = [torch.cat([feed.batch(3 * e + k)[1] for k in range(3)]).tolist() for e in range(2)]
    assert all(len(set(order)) == 9 for order in epochs)
    assert epochs[0] != epochs[1]
    again = Feed(data, 3, seed=1, device=torch.device("cpu"))
    assert again.batch(4)[1].tolist() == epochs[1][3:6]
    whole = Feed(data, 64, seed=1, device=torch.device("cpu"))
    assert (whole.steps_per_epoch, len(whole.batch(0)[0])) == (1, 10)


def test_the_sandwich_distils_where_alpha_asks_for_it(data: Dataset) -> None:
    def teacher(alpha: float) -> object:
        return SandwichTraining(alpha=alpha).schedule(WIDE, data, 0).phases[-1].teacher

    assert teacher(0.0) is no_teacher
    assert teacher(0.5) is in_place


@pytest.mark.parametrize("field", ["alpha", "label_smoothing"])
def test_what_needs_classes_is_refused_without(field: str, data: Dataset) -> None:
    method = METHODS["sandwich"](**{field: 0.5})
    with pytest.raises(TrainingError, match=f"{field} needs a classification, and 'toy' has no classes"):
        method.schedule(WIDE, replace(data, classes=None), 0)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("epochs", 0, "at least 1"),
        ("batch_size", 0, "at least 1"),
        ("learning_rate", 0.0, "more than 0"),
        ("learning_rate", math.nan, "more than 0"),
        ("momentum", -0.1, "0 to below 1"),
        ("momentum", 1.0, "0 to below 1"),
        ("ramp", 1.0, "0 to below 1"),
        ("weight_decay", -1.0, "0 or more"),
        ("clip", 0.0, "more than 0"),
        ("clip_value", -1.0, "more than 0"),
        ("optimiser", "adam", "one of sgd, adamw"),
        ("warmup", 1.0, "0 to below 1"),
        ("alpha", 1.5, "0 to 1"),
        ("temperature", 0.0, "more than 0"),
        ("random", -1, "0 or more"),
    ],
)
def test_an_impossible_setting_is_refused_in_one_line(field: str, value: object, expected: str) -> None:
    with pytest.raises(TrainingError, match=f"^{field} = .*: expected {expected}"):
        METHODS["sandwich"](**{field: value})


def test_a_method_is_its_recipe_in_plain_values() -> None:
    table = {"epochs": 3, "random": 1, "alpha": 0.2}
    assert asdict(METHODS["sandwich"](**table)).items() >= table.items()


def test_no_momentum_is_plain_gradient_descent(make_net: Callable[..., nn.Module]) -> None:
    net = make_net()
    recipe = Recipe(momentum=0.0, weight_decay=0.0, learning_rate=0.5)
    optimiser = make_optimiser(net, recipe)
    before = [p.detach().clone() for p in net.parameters()]
    for _ in range(2):
        for parameter in net.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimiser.step()
    for old, parameter in zip(before, net.parameters(), strict=True):
        torch.testing.assert_close(parameter, old - 1.0)
