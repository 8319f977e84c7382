"""Training: it goes on where it stopped, and learns what weights say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nasplat.errors import NasplatError
from nasplat.prune.meta.data_models import DataModel
from nasplat.prune.setaware import (
    Body,
    Epoch,
    Fitting,
    Lesson,
    Masks,
    Units,
    Walks,
    fit,
    read_masks,
    write_masks,
)

from .tiny import BODY, FITTING, WALKS, lessons, model


class Stop(Exception):
    """Between two epochs."""


def test_a_training_that_was_stopped_ends_as_one_that_was_not(tmp_path: Path) -> None:
    *own, other = lessons()

    def stop(epoch: Epoch) -> None:
        if epoch.number == 2:
            raise Stop

    whole = fit(BODY, own, [other], FITTING)
    with pytest.raises(Stop):
        fit(BODY, own, [other], FITTING, tmp_path, stop)
    rest = fit(BODY, own, [other], FITTING, tmp_path)
    assert [(e.loss, e.value) for e in rest.epochs] == [(e.loss, e.value) for e in whole.epochs]
    for name, tensor in whole.network.state_dict().items():
        torch.testing.assert_close(rest.network.state_dict()[name], tensor, rtol=0, atol=0)


def test_the_state_of_another_training_is_refused(tmp_path: Path) -> None:
    *own, other = lessons()
    fit(BODY, own, [other], replace(FITTING, epochs=1), tmp_path)
    with pytest.raises(NasplatError, match="remove it"):
        fit(BODY, own, [other], replace(FITTING, epochs=1, rate=1e-4), tmp_path)
    (tmp_path / "training.safetensors").write_bytes(b"no")
    with pytest.raises(NasplatError, match="remove it"):
        fit(BODY, own, [other], replace(FITTING, epochs=1), tmp_path)


def test_the_best_epoch_on_networks_that_are_held_out_is_kept() -> None:
    *own, other = lessons()
    found = fit(BODY, own, [other], FITTING)
    assert found.chosen.value == max(epoch.value for epoch in found.epochs)
    again = fit(BODY, own, [other], replace(FITTING, epochs=3))
    assert again.chosen == replace(found.chosen, seconds=again.chosen.seconds)


def test_nothing_to_learn_from_is_refused() -> None:
    with pytest.raises(NasplatError, match="held out"):
        fit(BODY, lessons(), [], FITTING)


def planted(one: DataModel, seed: int) -> Lesson:
    """Masks of a network whose rises are the squared sum of what a unit's last layers are made of: no loss."""
    units = Units.of(one.spec)
    rng = np.random.default_rng(seed)
    size = torch.zeros(one.spec.structure.nodes)
    for block in one.spec.structure.blocks:
        squares = block.view(one.graph.tensors[block.parameter]).square().sum((2, 3))
        size.index_add_(0, torch.from_numpy(block.targets).flatten(), squares.flatten())
    worth = torch.zeros(len(units)).index_add_(0, units.unit_of, size[units.nodes])
    kept = []
    for _ in range(3):
        rest = units.whole()
        for unit in rng.permutation(len(units))[:3]:
            rest = units.without(rest, int(unit)) if unit in units.removable(rest) else rest
        kept.append(rest)
    rises = np.stack([np.where(units.there(rest), worth.numpy(), np.nan) for rest in kept])
    features = torch.zeros(3, one.spec.structure.nodes, 0)
    return Lesson.of(one, Masks(torch.from_numpy(np.stack(kept)), torch.from_numpy(rises).float(), features))


def sized(one: DataModel, seed: int) -> DataModel:
    """The network with neurons of different sizes."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for layer in one.module.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.mul_(torch.rand(len(layer.weight), 1, 1, 1) * 2)
    return one


def test_it_learns_what_weights_say_of_networks_of_other_widths() -> None:
    own = [planted(sized(model(4 + seed % 4, seed), seed), seed) for seed in range(16)]
    other = [planted(sized(model(6, seed), seed), seed) for seed in range(90, 94)]
    body = Body(width=16, layers=2, taylor=False)
    found = fit(body, own, other, Fitting(epochs=10, batch=3, rate=1e-2))
    assert found.chosen.value > 0.45


def test_masks_are_what_was_written(tmp_path: Path) -> None:
    masks = lessons()[0].masks
    write_masks(tmp_path / "masks.safetensors", masks, WALKS)
    found = read_masks(tmp_path / "masks.safetensors", WALKS)
    pairs: Iterable[tuple[Tensor, Tensor]] = ((found.kept, masks.kept), (found.features, masks.features))
    for first, second in pairs:
        torch.testing.assert_close(first, second, rtol=0, atol=0)
    torch.testing.assert_close(found.rises, masks.rises, rtol=0, atol=0, equal_nan=True)
    with pytest.raises(NasplatError, match="other walks"):
        read_masks(tmp_path / "masks.safetensors", Walks(walks=99))
    with pytest.raises(NasplatError, match="no masks"):
        read_masks(tmp_path / "nothing.safetensors", WALKS)
