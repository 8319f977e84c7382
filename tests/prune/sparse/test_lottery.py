"""Lottery tickets: what every arm starts from, that controls are fair, and that a lottery goes on where it was left."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nasplat.errors import NasplatError
from nasplat.prune.sparse import Lottery, LotterySettings, draw_lottery, load_mask_plan

SETTINGS = LotterySettings(steps=6, rewind=2, densities=(0.5, 0.2), random=2, other_weights=True)
X = torch.randn(32, 6, generator=torch.Generator().manual_seed(1))
Y = X[:, :2].sum(1, keepdim=True).abs()


def fresh(seed: int) -> nn.Module:
    torch.manual_seed(seed % 2**63)
    return nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 1))


class Training:
    """Gradient descent that notes the steps and the weights that it is given."""

    def __init__(self, most: int = 1000) -> None:
        self.most = most
        self.calls: list[tuple[range, dict[str, Tensor]]] = []

    def __call__(self, module: nn.Module, steps: range) -> None:
        if len(self.calls) == self.most:
            raise KeyboardInterrupt
        self.calls.append((steps, {name: t.clone() for name, t in module.state_dict().items()}))
        optimiser = torch.optim.SGD(module.parameters(), 0.05, momentum=0.9)
        for _ in steps:
            optimiser.zero_grad()
            (module(X) - Y).square().mean().backward()
            optimiser.step()


def judge(module: nn.Module) -> dict[str, float]:
    with torch.no_grad():
        return {"fit": -float((module(X) - Y).square().mean())}


def drawn(train: Any, settings: LotterySettings = SETTINGS, folder: Path | None = None) -> Lottery:
    return draw_lottery(fresh, train, judge, settings, folder=folder)


def told(lottery: Lottery) -> list[tuple[str, float]]:
    return [(draw.name, draw.figures["fit"]) for draw in lottery.draws]


def test_every_round_has_a_ticket_its_random_masks_and_its_mask_on_other_weights() -> None:
    found = drawn(Training())
    arms = ["ticket", "random masks", "random masks", "other weights"]
    assert [draw.arm for draw in found.draws] == ["dense", *arms, *arms]
    assert [round(draw.density, 2) for draw in found.draws] == [1.0] + [0.5] * 4 + [0.2] * 4
    assert list(found.rows()[0]) == ["arm", "round", "number", "density", "seconds", "fit"]
    scores = {d.number: d.figures["fit"] for d in found.draws if (d.arm, d.round) == ("random masks", 2)}
    assert found.best("random masks", "fit", 2).number == max(scores, key=scores.__getitem__)


def test_tickets_and_random_masks_start_from_the_early_weights_and_others_from_fresh_ones() -> None:
    train = Training()
    found = drawn(train)
    steps = [call[0] for call in train.calls]
    late, whole = range(2, 6), range(6)
    assert steps == [range(2), late, late, late, late, whole, late, late, late, whole]
    ticket, random, other = (call[1] for call in (train.calls[2], train.calls[3], train.calls[5]))
    early, plan = found.early.state_dict(), found.plans[0]
    masks = plan.masks(found.early)
    for name, mask in masks.items():
        assert torch.equal(ticket[name], early[name] * mask)
        kept = random[name] != 0
        assert torch.equal(random[name], early[name] * kept)
        assert int(kept.sum()) == int(mask.sum())
        assert not torch.equal(kept, mask)
        assert torch.equal(other[name] != 0, mask)
        assert not torch.equal(other[name], ticket[name])
    assert torch.equal(ticket["0.bias"], early["0.bias"])


def test_the_first_ticket_keeps_the_largest_weights_of_the_trained_dense_network() -> None:
    train = Training()
    found = drawn(train, replace(SETTINGS, rewind=0))
    dense = fresh_like(train.calls[0][1])
    Training()(dense, range(6))
    sizes = torch.cat([dense.get_parameter(n).detach().abs().flatten() for n in ("0.weight", "2.weight")])
    masks = found.plans[0].masks(dense)
    chosen = torch.cat([masks[n].flatten() for n in ("0.weight", "2.weight")])
    assert sizes[chosen].min() >= sizes[~chosen].max()


def fresh_like(state: dict[str, Tensor]) -> nn.Module:
    net = fresh(0)
    net.load_state_dict(state)
    return net


def test_every_ticket_lies_within_the_one_before() -> None:
    first, second = drawn(Training()).plans
    net = fresh(0)
    for name, mask in second.masks(net).items():
        assert not (mask & ~first.masks(net)[name]).any()


@pytest.mark.parametrize("trainings", [0, 1, 2, 5, 9])
def test_an_interrupted_lottery_goes_on_to_the_same_figures(trainings: int, tmp_path: Path) -> None:
    expected = told(drawn(Training()))
    with pytest.raises(KeyboardInterrupt):
        drawn(Training(trainings), folder=tmp_path)
    rest = Training()
    assert told(drawn(rest, folder=tmp_path)) == expected
    kept = max(0, trainings - 1)  # the first training is the early one
    assert len(rest.calls) == 10 - kept - (1 if kept else 0)
    nothing = Training(0)
    assert told(drawn(nothing, folder=tmp_path)) == expected
    assert load_mask_plan(tmp_path / "masks 2.safetensors").kept == round(0.2 * 84)


def test_a_folder_of_another_lottery_is_refused(tmp_path: Path) -> None:
    drawn(Training(), folder=tmp_path)
    with pytest.raises(NasplatError, match="holds another lottery"):
        drawn(Training(), replace(SETTINGS, seed=1), folder=tmp_path)
    (tmp_path / "lottery.json").write_text("{")
    with pytest.raises(NasplatError, match=r"lottery.json is damaged"):
        drawn(Training(), folder=tmp_path)


def test_a_training_that_moves_masked_weights_is_told() -> None:
    def train(module: nn.Module, steps: range) -> None:
        with torch.no_grad():
            for parameter in module.parameters():
                parameter += 0.1

    with pytest.raises(NasplatError, match="the training moved masked weights"):
        drawn(train)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"densities": (0.2, 0.5)}, r"densities = \(0.2, 0.5\): expected falling shares"),
        ({"densities": ()}, r"densities = \(\)"),
        ({"rewind": 6}, "rewind = 6: expected a step from 0 to 5"),
        ({"random": 0}, "every ticket needs a random mask beside it"),
    ],
)
def test_settings_that_make_no_lottery_are_refused(change: dict[str, Any], line: str) -> None:
    with pytest.raises(NasplatError, match=line):
        replace(SETTINGS, **change)
