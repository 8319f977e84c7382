"""Meta-training: it goes on where it stopped, and held-out networks choose what is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from nasplat.errors import NasplatError
from nasplat.prune.meta import Epoch, MetaTask, Pruner, train_pruner
from nasplat.prune.meta.judging import PrunedAccuracy

from .pupils import EXAMPLE, TINY, content, images, norm_of_head, pupil, task


class Stopped(Exception):
    """What a killed process leaves is what an exception leaves."""


def stop_after(number: int) -> Callable[[Epoch], None]:
    def told(epoch: Epoch) -> None:
        if epoch.number == number:
            raise Stopped

    return told


@pytest.mark.parametrize("stop", [1, 2])
def test_a_resumed_training_gives_the_bytes_of_an_uninterrupted_one(tmp_path: Path, stop: int) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train_pruner(task(), whole, TINY)
    with pytest.raises(Stopped):
        train_pruner(task(), parts, TINY, stop_after(stop))
    told: list[int] = []
    torch.manual_seed(99)  # whatever the process did before
    train_pruner(task(), parts, TINY, lambda epoch: told.append(epoch.number))
    assert told == list(range(stop + 1, TINY.epochs + 1))
    assert content(whole) == content(parts)


def test_a_finished_training_is_not_repeated_and_a_longer_one_goes_on(tmp_path: Path) -> None:
    whole, longer = tmp_path / "whole", replace(TINY, epochs=4)
    train_pruner(task(), whole, longer)
    told: list[int] = []
    for settings in (TINY, TINY, longer):
        train_pruner(task(), tmp_path / "parts", settings, lambda epoch: told.append(epoch.number))
    assert told == [1, 2, 3, 4]
    assert content(whole) == content(tmp_path / "parts")


def test_the_epoch_with_the_highest_value_is_kept_and_all_values_are_told(tmp_path: Path) -> None:
    values = iter([0.5, 0.1, 0.9, 0.3])
    seen: list[float] = []

    def judge(network: nn.Module) -> float:
        seen.append(norm_of_head(network))
        return next(values)

    pruner = train_pruner(task(judge), tmp_path, TINY)
    assert pruner.card.untouched == 0.5
    assert [epoch.value for epoch in pruner.card.epochs] == [0.1, 0.9, 0.3]
    assert pruner.card.chosen == 2
    assert pruner.card.value == 0.9
    (held_out,) = task().held_out
    assert norm_of_head(pruner.rewrite(*held_out)) == pytest.approx(seen[2], rel=1e-6)


def test_the_judge_sees_held_out_networks_only_and_may_spoil_them(tmp_path: Path) -> None:
    given: list[int] = []

    def judge(network: nn.Module) -> float:
        given.append(len(network[0].weight))  # type: ignore[arg-type, index]
        network(EXAMPLE).sum().backward()  # as finetuning does
        nn.init.zeros_(network[0].weight)  # type: ignore[arg-type, index]
        return 0.0

    mine = task(judge)
    before = [
        {k: v.clone() for k, v in net.state_dict().items()} for net, _ in (*mine.networks, *mine.held_out)
    ]
    train_pruner(mine, tmp_path, TINY)
    assert given == [5] * (1 + TINY.epochs)
    for state, (net, _) in zip(before, (*mine.networks, *mine.held_out), strict=True):
        assert all(torch.equal(state[name], tensor) for name, tensor in net.state_dict().items())


def test_a_strong_pull_shrinks_the_networks_and_a_strong_accuracy_term_lowers_the_loss(
    tmp_path: Path,
) -> None:
    def rewritten_norm(folder: Path, accuracy: float, reg: float) -> tuple[float, float]:
        settings = replace(TINY, accuracy=accuracy, reg=reg, epochs=15)
        pruner = train_pruner(replace(task(), judge=lambda network: -norm_of_head(network)), folder, settings)
        easy = pruner.rewrite(pupil(4, 0), EXAMPLE)
        norm = sum(float(p.detach().square().sum()) for p in easy.parameters() if p.ndim > 1)
        return norm, pruner.card.epochs[-1].loss

    before = sum(float(p.detach().square().sum()) for p in pupil(4, 0).parameters() if p.ndim > 1)
    small, _ = rewritten_norm(tmp_path / "small", 1e-3, 10.0)
    _, loss = rewritten_norm(tmp_path / "right", 100.0, 0.0)
    first = Pruner.load(tmp_path / "right").card.epochs[0].loss
    assert small < 0.8 * before
    assert loss < first


def test_a_folder_of_another_training_is_refused_and_left_alone(tmp_path: Path) -> None:
    train_pruner(task(), tmp_path, TINY)
    before = content(tmp_path)
    with pytest.raises(NasplatError, match="other settings or networks"):
        train_pruner(task(), tmp_path, replace(TINY, reg=1.0))
    with pytest.raises(NasplatError, match="other settings or networks"):
        train_pruner(replace(task(), networks=[(pupil(4, 7), EXAMPLE)]), tmp_path, TINY)
    assert content(tmp_path) == before


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "training.safetensors").write_bytes(b"not a checkpoint")
    with pytest.raises(NasplatError, match="cannot be read"):
        train_pruner(task(), tmp_path, TINY)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_trains_what_the_cpu_goes_on_with_and_both_give_files_of_the_cpu(tmp_path: Path) -> None:
    inputs, targets = images()
    mine = task(PrunedAccuracy(inputs, targets, inputs, speedups=(1.5,), batch=10))
    settings = replace(TINY, pruned=1.0, epochs=1)
    first = train_pruner(mine, tmp_path, settings, device="cuda")
    both = train_pruner(mine, tmp_path, replace(settings, epochs=2))
    assert {p.device.type for pruner in (first, both) for p in pruner.rewriter.parameters()} == {"cpu"}
    assert len(both.card.epochs) == 2
    here, there = (both.rewrite(pupil().to(d), EXAMPLE.to(d)).cpu() for d in ("cpu", "cuda"))
    for one, other in zip(here.parameters(), there.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_a_device_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NasplatError, match="device 'gpu' is unknown"):
        train_pruner(task(), tmp_path, TINY, device="gpu")


def test_held_out_networks_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(NasplatError, match="2 networks to learn from and 0 held out"):
        train_pruner(MetaTask(task().networks, [], task().losses, norm_of_head), tmp_path, TINY)
