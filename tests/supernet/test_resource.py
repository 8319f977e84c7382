"""Policies that decide what an architecture costs before they decide which one it is."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nasplat import load
from nasplat.data import Dataset, Split
from nasplat.elastic import ElasticSpace, mac_terms
from nasplat.errors import InvalidArchitecture, TrainingError
from nasplat.space import Additive, Arch, Space, Term, ordinal
from nasplat.supernet import METHODS, Settings, Stateful, Uniform, bins, train
from nasplat.supernet.bins import Bins, mac_bins
from nasplat.supernet.resource import Attentive, CostFirst, Shift, Shifting

WIDTHS, PIXELS = (8, 16, 24, 32), (256, 64, 16, 16)
SPACE = Space("four", [ordinal(f"w{i}", WIDTHS) for i in range(1, 5)])
TERMS = [
    Term(("w1",), {(w,): 9 * 256 * w for w in WIDTHS}),
    *(
        Term((f"w{i}", f"w{i + 1}"), {(a, b): 9 * PIXELS[i] * a * b for a in WIDTHS for b in WIDTHS})
        for i in (1, 2, 3)
    ),
]
TOTALS = Additive(SPACE, TERMS)
"""Four convolutions at 16x16 to 4x4 pixels: the multiply-adds of 256 architectures."""
BINS = Bins.equal(TOTALS, 6)


def deaf(arch: Arch) -> Tensor:
    raise AssertionError("these policies ask nobody")


def verdict(arch: Arch) -> Tensor:
    """A loss that differs for every architecture and has nothing to do with its cost."""
    return torch.tensor(int(arch.key[:6], 16) / 16**6)


def unevenness(numbers: Sequence[int]) -> float:
    """Chi-squared against equal numbers."""
    mean = sum(numbers) / len(numbers)
    return sum((number - mean) ** 2 / mean for number in numbers)


def bins_of(archs: Sequence[Arch], bins: Bins = BINS) -> list[int]:
    counts = Counter(bins.find(arch) for arch in archs)
    return [counts[number] for number in range(len(bins))]


def test_costs_drawn_first_are_flat_where_choices_drawn_one_by_one_are_not() -> None:
    by_cost = [arch for step in range(300) for arch in CostFirst(BINS, n=2).ask(step, deaf)]
    by_choice = [arch for step in range(300) for arch in Uniform(SPACE, n=2).ask(step, deaf)]
    assert unevenness(bins_of(by_cost)) < 20.5  # 5 degrees of freedom, p = 0.001
    assert unevenness(bins_of(by_choice)) > 100
    assert CostFirst(BINS, n=3, seed=5).ask(7, deaf) == CostFirst(BINS, n=3, seed=5).ask(7, deaf)
    assert CostFirst(BINS, n=3, seed=5).ask(7, deaf) != CostFirst(BINS, n=3, seed=6).ask(7, deaf)


def test_every_architecture_is_in_the_bin_of_its_cost() -> None:
    for arch in SPACE.enumerate():
        number = BINS.find(arch)
        assert number is not None
        low, high = BINS.intervals[number]
        assert low <= TOTALS.total(arch) < high
    rng = np.random.default_rng(0)
    assert [BINS.find(BINS.sample(number, rng)) for number in range(6)] == list(range(6))


def test_bins_without_architectures_are_left_out() -> None:
    totals = Additive(Space("gaps", [ordinal("x", (0, 1, 9))]), [Term(("x",), {(v,): v for v in (0, 1, 9)})])
    assert Bins.equal(totals, 5).intervals == ((0, 2), (8, 10))
    some = Bins.between(totals, [1, 5, 7, 9.5])
    assert some.intervals == ((1, 5), (7, 9.5))
    found = [some.find(arch) for arch in totals.space.enumerate()]
    assert found == [None, 0, 1]
    with pytest.raises(
        InvalidArchitecture, match=r"no architecture between \[2, 3, 8\]: totals go from 0 to 9"
    ):
        Bins.between(totals, [2, 3, 8])


@pytest.mark.parametrize(("best", "extreme"), [(True, min), (False, max)])
def test_attention_trains_the_extreme_of_equals_in_cost(best: bool, extreme: Any) -> None:
    policy = Attentive(BINS, n=2, candidates=4, best=best, seed=3)
    for step in range(20):
        judged: list[Arch] = []

        def judge(arch: Arch, judged: list[Arch] = judged) -> Tensor:
            judged.append(arch)
            return verdict(arch)

        first, second, *picked = policy.ask(step, judge)
        assert (first, second) == (SPACE.largest(), SPACE.smallest())
        groups = judged[:4], judged[4:]
        assert [len(group) for group in groups] == [4, 4]
        for group, arch in zip(groups, picked, strict=True):
            assert len({BINS.find(candidate) for candidate in group}) == 1
            assert verdict(arch) == extreme(verdict(candidate) for candidate in group)
    assert policy.ask(3, verdict) == policy.ask(3, verdict) != policy.ask(4, verdict)


def test_a_single_candidate_is_judged_by_nobody_and_falls_into_bins_as_choices_do() -> None:
    policy = Attentive(BINS, n=2, candidates=1)
    archs = [arch for step in range(400) for arch in policy.ask(step, deaf)[2:]]
    prior = [number / 256 for number in bins_of(list(SPACE.enumerate()))]
    expected = [800 * share for share in prior]
    found = sum((n - e) ** 2 / e for n, e in zip(bins_of(archs), expected, strict=True))
    assert found < 20.5  # 5 degrees of freedom, p = 0.001
    assert Attentive(BINS, n=0).ask(0, deaf) == [SPACE.largest(), SPACE.smallest()]


def learn(policy: Shifting, steps: range) -> list[list[Arch]]:
    """Losses of which only that of the dearest bin falls."""
    asked = []
    for step in steps:
        archs = policy.ask(step, deaf)
        losses = [2.0 - 0.05 * step * (BINS.find(arch) == 5) for arch in archs]
        policy.tell(archs, [torch.tensor(loss) for loss in losses])
        asked.append(archs)
    return asked


def test_probabilities_shift_to_where_losses_fall_as_the_formula_says() -> None:
    shift = Shift(every=10, memory=0.5, temperature=0.2, uniform=0.1)
    policy, means = Shifting(BINS, 3, seed=1, shift=shift), dict[int, list[float]]()
    for step in range(20):
        assert policy.probabilities == pytest.approx(
            np.full(6, 1 / 6)
        )  # nothing to compare with until step 20
        (archs,) = learn(policy, range(step, step + 1))
        for number in map(BINS.find, archs):
            assert number is not None
            loss = 2.0 - 0.05 * step * (number == 5)
            mean = means.setdefault(number, [loss])[-1]
            means[number].append(0.5 * mean + 0.5 * loss)
        if step == 9:
            then = {number: mean[-1] for number, mean in means.items()}
    gains = [max(0.0, then[n] - means[n][-1]) if n in then else 0.0 for n in range(6)]
    assert gains[5] > 0.2
    weights = [math.exp(gain / 0.2) for gain in gains]
    expected = [0.9 * weight / sum(weights) + 0.1 / 6 for weight in weights]
    assert policy.probabilities == pytest.approx(np.array(expected), rel=1e-5)
    later = [arch for step in range(500) for arch in policy.ask(step, deaf)]
    found = sum((n - 1500 * p) ** 2 / (1500 * p) for n, p in zip(bins_of(later), expected, strict=True))
    assert found < 20.5  # 5 degrees of freedom, p = 0.001


def test_a_policy_restored_before_its_first_update_has_no_earlier_losses_to_compare_with() -> None:
    def fall(policy: Shifting, steps: range) -> None:
        for step in steps:
            policy.tell(policy.ask(step, deaf), [torch.tensor(2.0 - 0.4 * step)] * 2)

    first, second = (Shifting(BINS, 2, shift=Shift(every=5)) for _ in range(2))
    fall(first, range(3))
    second.restore({name: tensor.clone() for name, tensor in first.state().items()})
    for policy in (first, second):
        fall(policy, range(3, 5))
    assert second.probabilities.tolist() == first.probabilities.tolist() == [1 / 6] * 6


@pytest.mark.parametrize("stop", [1, 7, 10, 15])
def test_a_restored_policy_goes_on_as_if_nothing_had_happened(stop: int) -> None:
    shift = Shift(every=5)
    whole = learn(Shifting(BINS, 2, shift=shift), range(30))
    first, second = Shifting(BINS, 2, shift=shift), Shifting(BINS, 2, shift=shift)
    assert isinstance(first, Stateful)
    assert first.state() == {}
    asked = learn(first, range(stop))
    second.restore({name: tensor.clone() for name, tensor in first.state().items()})
    assert asked + learn(second, range(stop, 30)) == whole


def test_losses_stay_on_the_device_between_updates() -> None:
    policy = Shifting(BINS, 2, shift=Shift(every=4))
    for step in range(3):
        policy.tell(policy.ask(step, deaf), [torch.empty((), device="meta")] * 2)  # has no value to be read
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        policy.tell(policy.ask(3, deaf), [torch.empty((), device="meta")] * 2)


@pytest.fixture(scope="module")
def convnets() -> ElasticSpace:
    space: ElasticSpace = load("spaces", "elastic_convnet")(
        input_shape=(1, 8, 8), classes=3, stages=1, depth=(1, 2), width=(4, 8), kernel=(1, 3)
    )
    return space


@pytest.fixture(scope="module")
def images() -> Dataset:
    rng = torch.Generator().manual_seed(1)
    split = Split(torch.randn(32, 1, 8, 8, generator=rng), torch.randint(3, (32,), generator=rng))
    return Dataset("noise", split, split, split, classes=3)


def test_bins_of_multiply_adds_need_an_elastic_network(convnets: ElasticSpace) -> None:
    assert mac_bins(convnets, 3).totals.bounds[0] > 0
    with pytest.raises(TrainingError, match="need an elastic space, and four is none"):
        mac_bins(SPACE, 3)


@pytest.mark.parametrize("name", ["attentivenas", "shiftnas"])
def test_a_space_is_watched_once_however_often_its_schedule_is_made(
    name: str, images: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    space: ElasticSpace = load("spaces", "elastic_convnet")(
        input_shape=(1, 8, 8), classes=3, stages=1, depth=(1, 2), width=(4, 8), kernel=(1,)
    )
    asked: list[ElasticSpace] = []

    def watched(space: ElasticSpace) -> list[Term]:
        asked.append(space)
        return mac_terms(space)

    monkeypatch.setattr(bins, "mac_terms", watched)
    for number in (3, 3, 4):
        METHODS[name](bins=number).schedule(space, images, 0)
    assert asked == [space]
    smaller = space.restrict({"width1": [4]})
    METHODS[name]().schedule(smaller, images, 0)
    assert asked == [space, smaller]


def test_a_shifted_training_resumes_to_the_same_weights(
    convnets: ElasticSpace, images: Dataset, tmp_path: Any
) -> None:
    method = METHODS["shiftnas"](epochs=6, batch_size=8, every=2, temperature=0.001, bins=4)  # 24 steps

    def run(seed: int, stop: int = 7, **settings: Any) -> Tensor:
        net = convnets.supernet(seed)

        def after_epoch(done: int) -> None:
            if done == stop:
                raise KeyboardInterrupt

        schedule = method.schedule(convnets, images, 0)
        train(net, images, schedule, method, Settings(pulse=0, **settings), after_epoch=after_epoch)
        return torch.cat([parameter.detach().flatten() for parameter in net.parameters()])

    path = tmp_path / "checkpoint"
    with pytest.raises(KeyboardInterrupt):
        run(0, stop=4, checkpoint=path, save_every=0.0)
    assert run(1, checkpoint=path).equal(run(0))


@pytest.mark.parametrize(
    ("name", "table", "message"),
    [
        ("attentivenas", {"bins": 0}, "bins = 0: expected at least 1"),
        ("attentivenas", {"candidates": 0}, "candidates = 0: expected at least 1"),
        ("attentivenas", {"up": "bets"}, "up = bets: expected best or worst"),
        ("attentivenas", {"random": -1}, "random = -1"),
        ("shiftnas", {"per_step": 0}, "per_step = 0: expected at least 1"),
        ("shiftnas", {"every": 0}, "every = 0"),
        ("shiftnas", {"memory": 1.0}, "memory = 1.0: expected 0 to below 1"),
        ("shiftnas", {"temperature": 0.0}, "temperature = 0.0: expected more than 0"),
        ("shiftnas", {"uniform": 1.5}, "uniform = 1.5: expected 0 to 1"),
    ],
)
def test_settings_without_sense_are_refused(name: str, table: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        METHODS[name](**table)
