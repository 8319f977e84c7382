"""Targets are met, and met closely: counted on the network that comes out, by another counter than planned with."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nasplat.errors import NasplatError
from nasplat.measure import count_macs, count_params
from nasplat.networks import resnet, vgg11_bn
from nasplat.prune import Plan, Prunable, PruneSettings, Target, plan_of, plan_pruning, prunable
from nasplat.prune.masked import Kept
from nasplat.prune.planning import scored
from nasplat.prune.ranking import RANKINGS, Widths, ranked
from nasplat.prune.reaching import reach


class Attention(nn.Module):
    """Heads and the size of a head are numbers of the module's own; the way of the code for which heads can go."""

    def __init__(self, width: int, heads: int, head: int) -> None:
        super().__init__()
        self.heads, self.head = heads, head
        self.norm, self.qkv = nn.LayerNorm(width), nn.Linear(width, 3 * heads * head)
        self.out = nn.Linear(heads * head, width)

    def forward(self, x: Tensor) -> Tensor:
        n, t, _ = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(n, t, 3, self.heads, self.head).permute(2, 0, 3, 1, 4)
        y = torch.softmax(q @ k.transpose(-1, -2) * 0.1, -1) @ v
        return x + self.out(y.transpose(1, 2).reshape(n, t, -1))


class Forward(nn.Sequential):
    """The other half of a block."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__(nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


def transformer() -> nn.Module:
    blocks = [part for _ in range(2) for part in (Attention(64, 6, 8), Forward(64, 160))]
    return nn.Sequential(nn.Linear(6, 64), *blocks, nn.Linear(64, 4))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "resnet20": (partial(resnet, 20), (3, 16, 16)),
    "vgg11": (partial(vgg11_bn, widths=(16, 32, 64, 64, 64)), (3, 16, 16)),
    "transformer": (transformer, (10, 6)),
}


@cache
def network(name: str) -> Prunable:
    make, shape = NETWORKS[name]
    torch.manual_seed(0)
    return prunable(make().eval(), torch.randn(2, *shape))


def planned(
    name: str, settings: PruneSettings | None = None, **target: Any
) -> tuple[Plan, nn.Module, Tensor]:
    """By L2 norms; the plan, the network that it gives, and an input."""
    whole = network(name)
    plan = plan_of(whole, scored("l2"), Target(**target), settings or PruneSettings(), None)
    return plan, plan.apply(whole.module), whole.examples[0]


@pytest.mark.parametrize(
    ("name", "ranking", "speedup"),
    [
        *((name, "global", 4.0) for name in NETWORKS),
        ("resnet20", "global", 1.3),
        *(("transformer", ranking, 2.0) for ranking in RANKINGS if ranking != "global"),
        ("vgg11", "isomorphic", 3.0),
    ],
)
def test_multiply_adds_are_at_most_what_was_asked_and_within_one_per_cent(
    name: str, ranking: Any, speedup: float
) -> None:
    whole = count_macs(network(name).module, network(name).examples[0])
    plan, small, x = planned(name, PruneSettings(ranking=ranking), speedup=speedup)
    counted = count_macs(small, x)
    assert 0.99 * whole / speedup <= counted <= whole / speedup
    assert plan.macs == (whole, counted)
    assert plan.speedup == pytest.approx(whole / counted)


@pytest.mark.parametrize("name", NETWORKS)
def test_parameters_are_at_most_what_was_asked_and_within_one_per_cent(name: str) -> None:
    whole = count_params(network(name).module)
    for limit in (0.7 * whole, 0.2 * whole):
        plan, small, _ = planned(name, max_params=limit)
        assert 0.99 * limit <= count_params(small) <= limit
        assert plan.params == (whole, count_params(small))


def test_a_number_of_multiply_adds_asks_for_the_same_as_a_speedup() -> None:
    whole = count_macs(network("resnet20").module, network("resnet20").examples[0])
    one, other = planned("resnet20", max_macs=whole / 3)[0], planned("resnet20", speedup=3)[0]
    assert one.groups == other.groups
    assert one.cuts == other.cuts


@pytest.mark.parametrize("name", NETWORKS)
def test_not_every_group_could_have_one_unit_more(name: str) -> None:
    whole = network(name)
    limit = whole.macs(whole.everything) / 2
    plan, _, _ = planned(name, speedup=2)
    kept = plan.kept(whole.spec)
    held = {group.name: group for group in whole.groups if group.kind == "channels"}
    cut = [group for group in plan.groups if group.name in held and group.after < group.before]
    fits = []
    for told in cut:
        row = held[told.name].rows[0]
        more = kept.copy()
        more[row[~kept[row]][0]] = True
        fits.append(whole.macs(more) <= limit)
    assert not all(fits)


def test_multiply_adds_without_a_closed_formula_are_counted_on_shapes_alone() -> None:
    whole = network("transformer")
    assert whole.shadow is not None
    assert {tensor.device.type for tensor in whole.shadow.module.state_dict().values()} == {"meta"}
    kept = planned("transformer", speedup=2)[0].kept(whole.spec)
    assert not whole.closed
    assert whole.macs(kept) == replace(whole, shadow=None).macs(kept)


def test_units_that_return_are_found_in_few_steps() -> None:
    """A stream that goes last overshoots by far; a hundred units of the others then return."""
    module = nn.Sequential(nn.Linear(4, 200), nn.ReLU(), nn.Linear(200, 2), nn.ReLU(), nn.Linear(2, 2000))
    free = prunable(module.eval(), torch.ones(1, 4))
    units = {
        group.name: torch.arange(group.size) + (0.0 if group.size > 2 else 100.5) for group in free.groups
    }
    importance = torch.cat([units.get(space.name, torch.zeros(space.size)) for space in free.spec.spaces])
    order = ranked(free.spec, free.groups, importance.double().numpy(), "global", Widths())
    asked: list[float] = []

    def cost(kept: Kept) -> float:
        asked.append(free.params(kept))
        return asked[-1]

    left = reach(order, cost, 5100, "parameters")
    assert left == {"0": 183, "2": 1}  # 6 * 183 + 4001 parameters
    assert len(asked) <= 20


def test_equal_shares_are_equal_shares() -> None:
    plan, _, _ = planned("resnet20", PruneSettings(min_share=0), keep_ratio=0.5)
    assert {(group.before, group.after) for group in plan.groups} == {(16, 8), (32, 16), (64, 32)}


def test_shares_by_name_cut_what_they_name_and_nothing_else() -> None:
    plan, small, _ = planned("resnet20", keep_ratio={"layer2.*.conv1": 0.25, "layer3.0.conv1": 0.5})
    cut = {group.name: (group.before, group.after) for group in plan.groups if group.after < group.before}
    assert cut == {f"layer2.{n}.conv1": (32, 8) for n in range(3)} | {"layer3.0.conv1": (64, 32)}
    assert small.layer3[0].conv1.out_channels == 32


def test_widths_are_rounded_up_to_multiples_and_the_target_still_holds() -> None:
    plan, small, x = planned("resnet20", PruneSettings(round_to=8), speedup=2)
    assert all(group.after % 8 == 0 for group in plan.groups)
    assert 0.85 * plan.macs[0] / 2 <= count_macs(small, x) <= plan.macs[0] / 2


def test_no_group_falls_below_the_smallest_width() -> None:
    free = planned("resnet20", PruneSettings(min_share=0), speedup=4)[0]
    assert min(group.after for group in free.groups) < 6
    plan = planned("resnet20", PruneSettings(min_width=6), speedup=4)[0]
    assert min(group.after for group in plan.groups) == 6


def test_what_is_to_stay_stays() -> None:
    keep = ("layer3.*", "conv1")
    plan, small, _ = planned_anew(keep)
    for name in keep:
        assert all(
            group.after == group.before for group in plan.groups if group.name.startswith(name.rstrip("*"))
        )
    assert small.conv1.out_channels == 16
    assert plan.frozen["conv1"] == "it was asked to stay"


@pytest.mark.parametrize(
    ("keep", "whole"),
    [
        ("body", {"body"}),
        ("*.norm", {"body"}),
        ("up", {"up"}),
        ("up.weight", {"up"}),
        ("table", {"table"}),
        ("fc", set()),
    ],
)
def test_a_layer_that_is_to_stay_keeps_what_it_gives_and_not_what_it_reads(
    keep: str, whole: set[str]
) -> None:
    module = Upward().eval()
    plan = plan_pruning(
        module, torch.arange(6).reshape(2, 3), keep_ratio=0.5, settings=PruneSettings(keep=(keep,))
    )
    assert {group.name for group in plan.groups if group.after == group.before or group.reason} == whole


class Upward(nn.Module):
    """An embedding, a convolution with a norm, and a transposed one, whose weight has the inputs first."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.body = nn.Embedding(6, 4), nn.Conv1d(4, 6, 1)
        self.inner = nn.ModuleDict({"norm": nn.BatchNorm1d(6)})
        self.up, self.fc = nn.ConvTranspose1d(6, 8, 2, bias=False), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.inner["norm"](self.body(self.table(x).transpose(1, 2))))
        return self.fc(torch.relu(self.up(x)).mean(2))


def planned_anew(keep: tuple[str, ...]) -> tuple[Plan, nn.Module, Tensor]:
    module, x = network("resnet20").module, network("resnet20").examples[0]
    plan = plan_pruning(module, x, "l2", speedup=1.3, settings=PruneSettings(keep=keep))
    return plan, plan.apply(module), x


@pytest.mark.parametrize(("blocks", "inside"), [(True, False), (False, True)])
def test_heads_or_their_sizes_can_be_kept(blocks: bool, inside: bool) -> None:
    module, x = network("transformer").module, network("transformer").examples[0]
    settings = PruneSettings(blocks=blocks, inside=inside, ranking="layer")
    small = plan_pruning(module, x, "l2", speedup=2, settings=settings).apply(module)
    heads, sizes = [small[n].heads for n in (1, 3)], [small[n].head for n in (1, 3)]
    assert (max(heads) < 6, max(sizes) < 8) == (blocks, inside)
    assert small(x).isfinite().all()


def test_a_latency_is_met_by_what_a_function_says_of_the_networks() -> None:
    """Bisection needs few of them."""
    asked: list[int] = []

    def milliseconds(module: nn.Module) -> float:
        asked.append(count_params(module))
        return asked[-1] / 1000

    whole = count_params(network("vgg11").module)
    plan, small, _ = planned("vgg11", max_latency=whole / 3000, latency=milliseconds)
    assert plan.latency_ms == (whole / 1000, count_params(small) / 1000)
    assert 0.97 * whole / 3 <= count_params(small) <= whole / 3
    assert len(asked) <= 14


TOO_MUCH: Mapping[str, Any] = {"speedup": 1e6, "max_macs": 10, "max_params": 10}


@pytest.mark.parametrize("name", TOO_MUCH)
def test_a_target_out_of_reach_is_told_with_the_best_that_can_be_had(name: str) -> None:
    with pytest.raises(NasplatError) as error:
        planned("resnet20", **{name: TOO_MUCH[name]})
    line = str(error.value)
    assert "\n" not in line
    found = re.search(r"the least that can be reached is ([\d,.]+);", line)
    assert found
    best = float(found[1].replace(",", ""))
    reached = planned("resnet20", **{"max_params" if name == "max_params" else "max_macs": best + 0.5})[0]
    pair = reached.params if name == "max_params" else reached.macs
    assert pair is not None
    assert pair[1] == pytest.approx(best, abs=0.5)
