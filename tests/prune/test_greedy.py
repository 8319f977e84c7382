"""Greedy removal: against losses whose best order is known, and against a search that looks at everything."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nasplat.channels import channel_spec
from nasplat.errors import NasplatError
from nasplat.prune.greedy import Greedy, GreedySettings, greedy_kept, units_of
from nasplat.prune.groups import find_groups
from nasplat.prune.masked import masked
from nasplat.prune.scores import Evidence
from nasplat.prune.trials import Trials

from ..channels.architectures import ALL
from ..channels.conftest import trace
from .scores.networks import evidence as random_evidence

VALUES = (5.0, 1.0, 4.0, 2.0, 3.0)
"""What the loss is without each hidden channel of `additive`: numbers 2 to 6."""


def additive(values: tuple[float, ...] = VALUES) -> Evidence:
    network = nn.Sequential(nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 1)).double().eval()
    with torch.no_grad():
        network[0].weight.fill_(1)
    x = torch.randn(4, 2).double()

    def loss(module: nn.Module) -> Iterator[Tensor]:
        gone = module[0].weight.abs().sum(1) == 0
        yield (torch.tensor(values).double() * gone).sum()

    return Evidence(network, (x,), channel_spec(network, x), loss)


HIDDEN = {"hidden": [np.array([number]) for number in range(2, 7)]}


def count(kept: np.ndarray) -> float:
    return float(kept.sum())


def removed(found: Greedy) -> list[int]:
    return [removal.unit for removal in found.removals]


def test_units_go_in_the_order_of_what_they_are_worth() -> None:
    found = greedy_kept(additive(), HIDDEN, count, 5)
    assert removed(found) == [1, 3, 4]
    assert np.flatnonzero(~found.kept).tolist() == [3, 5, 6]
    assert [removal.loss for removal in found.removals] == [0, 1, 3]
    assert [removal.rise for removal in found.removals] == [1, 2, 3]
    assert [removal.cost for removal in found.removals] == [7, 6, 5]
    assert found.loss == 6


def test_old_rises_save_looking_and_change_nothing_where_rises_do_not_fall() -> None:
    lazy = greedy_kept(additive(), HIDDEN, count, 4)
    eager = greedy_kept(additive(), HIDDEN, count, 4, GreedySettings(lazy=False))
    assert removed(lazy) == removed(eager) == [1, 3, 4, 2]
    # the network of every step, and: all five at first and then the one at the top; all that are left each time
    assert lazy.evaluations == 5 + 5 + 3
    assert eager.evaluations == 5 + 5 + 4 + 3 + 2


def test_units_that_save_more_go_earlier_and_those_that_lower_the_loss_before_all() -> None:
    sizes = np.array([1, 1, 1, 1, 4, 4, 4, 1])
    units = {"thin": HIDDEN["hidden"][:2], "thick": HIDDEN["hidden"][2:]}
    found = greedy_kept(additive((3, 1, 4, 2, -1)), units, lambda kept: float(sizes[kept].sum()), 8)
    order = [(removal.group, removal.unit) for removal in found.removals]
    assert order == [
        ("thick", 2),
        ("thick", 1),
        ("thin", 1),
    ]  # prices -4, 2/4 and 1; the last thick one must stay


def reference(one: Evidence, units: dict, cost: Callable, limit: float) -> np.ndarray:
    """Everything is looked at each time, with copies."""
    kept = np.ones(max(space.stop for space in one.spec.spaces), dtype=bool)
    left = {name: list(range(len(own))) for name, own in units.items()}

    def loss(kept: np.ndarray) -> float:
        with torch.no_grad():
            return float(np.mean([float(one) for one in one.loss(masked(one.module, one.spec, kept))]))

    while cost(kept) > limit:
        found = []
        for name, own in left.items():
            for number in own if len(own) > 1 else ():
                rest = kept.copy()
                rest[units[name][number]] = False
                rise, saved = loss(rest) - loss(kept), cost(kept) - cost(rest)
                found.append((rise / saved if rise > 0 else rise * saved, name, number, rest))
        _, name, number, kept = min(found, key=lambda each: each[0])
        left[name].remove(number)
    return kept


@pytest.mark.parametrize("name", ["lenet", "depthwise_then_grouped"])
def test_the_search_is_one_that_looks_at_everything_with_copies(name: str) -> None:
    one = random_evidence(name)
    units = units_of(find_groups(one.spec))
    sizes = np.random.default_rng(0).uniform(1, 2, len(units))

    def cost(kept: np.ndarray) -> float:
        """Any function of widths."""
        widths = [sum(kept[own].all() for own in group) for group in units.values()]
        return float(sizes @ np.sqrt(widths))

    limit = 0.92 * cost(np.ones(max(space.stop for space in one.spec.spaces), dtype=bool))
    found = greedy_kept(one, units, cost, limit, GreedySettings(lazy=False))
    assert np.array_equal(found.kept, reference(one, units, cost, limit))
    again = greedy_kept(one, units, cost, limit, GreedySettings(lazy=False))
    assert removed(again) == removed(found)


@pytest.mark.parametrize("name", ["resnext", "decoder", "gru", "self_concat", "autoencoder"])
@settings(max_examples=4, deadline=None, derandomize=True)
@given(seed=st.integers(0, 999))
def test_a_trial_gives_the_loss_of_a_masked_copy_and_leaves_no_trace(name: str, seed: int) -> None:
    network, example, spec = ALL[name].network(), ALL[name].example(), trace(name).spec
    random = np.random.default_rng(seed)
    size = max(space.stop for space in spec.spaces)
    kept, more = random.random(size) < 0.8, random.integers(size, size=2)

    def loss(module: nn.Module) -> Iterator[Tensor]:
        yield module(*example).square().mean()

    def expected(kept: np.ndarray) -> float:
        return float(next(loss(masked(network, spec, kept))).detach())

    trials = Trials(network, spec, loss)
    before = trials.keep(kept)
    rest = kept.copy()
    rest[more] = False
    assert before == pytest.approx(expected(kept))
    assert trials.without(more) == pytest.approx(expected(rest))
    assert trials.without(np.empty(0, np.int64)) == before
    assert trials.keep(np.ones(size, dtype=bool)) == pytest.approx(expected(np.ones(size, dtype=bool)))
    assert trials.evaluations == 4


def test_batch_norms_may_work_by_the_batch_and_keep_their_own_statistics() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1)).double().eval()
    network[1].running_mean.fill_(7)
    x = torch.randn(8, 2).double()
    state = copy.deepcopy(network.state_dict())
    modes = {"stored": network[1], "batch": nn.BatchNorm1d(3, affine=False).double()}
    for norms, norm in modes.items():
        trials = Trials(network, channel_spec(network, x), lambda module: [module(x).sum()], norms)
        for _ in range(2):
            found = trials.keep(np.ones(6, dtype=bool))
            assert found == pytest.approx(float(network[2](norm(network[0](x))).sum().detach()))
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


def test_several_units_a_step_are_those_at_the_top_and_stop_at_the_limit() -> None:
    found = greedy_kept(additive(), HIDDEN, count, 5, GreedySettings(per_step=2))
    assert removed(found) == [1, 3, 4]
    assert [removal.loss for removal in found.removals] == [0, 0, 3]


def test_groups_keep_their_least_and_only_the_first_candidates_are_looked_at() -> None:
    two = {"a": HIDDEN["hidden"][:3], "b": HIDDEN["hidden"][3:]}  # worth 5, 1, 4 and 2, 3
    found = greedy_kept(additive(), two, count, 5, GreedySettings(least=1))
    assert [(removal.group, removal.unit) for removal in found.removals] == [("a", 1), ("b", 0), ("a", 2)]
    with pytest.raises(NasplatError, match="cost of 4 cannot be met: the least that can be reached is 5"):
        greedy_kept(additive(), two, count, 4)
    first = greedy_kept(additive(), HIDDEN, count, 6, GreedySettings(candidates=1))
    assert removed(first) == [0, 1]
    assert first.evaluations == 2 + 2 + 1


def test_a_tired_step_takes_the_best_that_it_has_looked_at() -> None:
    """Rises grow with every unit that goes; the second step looks at one old rise and takes it."""
    one = additive()

    def loss(module: nn.Module) -> Iterator[Tensor]:
        gone = module[0].weight.abs().sum(1) == 0
        yield torch.tensor([5.0, 1.0, 4.0, 2.0, 2.5])[gone].sum() + 2.0 * gone[1] * gone[3]

    grown = Evidence(one.module, one.example, one.spec, loss)
    assert removed(greedy_kept(grown, HIDDEN, count, 6)) == [1, 4]
    assert removed(greedy_kept(grown, HIDDEN, count, 6, GreedySettings(most=1))) == [1, 3]


def test_bools_are_units_too_and_units_of_groups_follow_importance() -> None:
    flags = {"hidden": [np.arange(8) == number for number in range(2, 7)]}
    assert removed(greedy_kept(additive(), flags, count, 5)) == [1, 3, 4]
    spec = trace("resnext").spec
    groups = find_groups(spec)
    size = max(space.stop for space in spec.spaces)
    importance = torch.from_numpy(np.random.default_rng(0).permutation(size).astype(float))
    for group in groups:
        kept = np.ones(size, dtype=bool)
        for unit in units_of(groups, importance)[group.name][:-1]:
            assert kept[unit].any()
            kept[unit] = False
        expected = np.ones(size, dtype=bool)
        group.remove(expected, group.order(importance.numpy())[:, :1])
        assert np.array_equal(kept, expected)


def test_what_cannot_be_searched_is_told_in_one_line() -> None:
    one, nothing = additive(), torch.tensor(torch.nan)
    with pytest.raises(NasplatError, match="give `loss`"):
        greedy_kept(Evidence(one.module, one.example, one.spec), HIDDEN, count, 5)
    with pytest.raises(NasplatError, match="yielded no batch"):
        greedy_kept(Evidence(one.module, one.example, one.spec, lambda module: []), HIDDEN, count, 5)
    with pytest.raises(NasplatError, match="has a loss of nan"):
        greedy_kept(Evidence(one.module, one.example, one.spec, lambda module: [nothing]), HIDDEN, count, 5)
    with pytest.raises(NasplatError, match="per_step=0"):
        GreedySettings(per_step=0)


def test_units_that_do_not_save_the_same_end_in_one_line_and_not_in_an_endless_search() -> None:
    uneven = {"hidden": [np.array([2, 4, 5]), np.array([3])]}
    with pytest.raises(NasplatError, match="a cost of 5 was not met: 7 is left"):
        greedy_kept(additive(), uneven, count, 5)
