"""Rises of the loss against networks that were really masked or cut."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nasplat.errors import NasplatError, TrainingError
from nasplat.prune import masked, prunable
from nasplat.prune.meta.data_models import data_model
from nasplat.prune.setaware import Units, draw_masks, rises_of
from nasplat.prune.trials import Trials

from .tiny import EXAMPLE, WALKS, images, loss, losses, mean_loss, model, residual


def test_rises_by_stored_norms_are_those_of_a_copy_with_zeros() -> None:
    one = model()
    units = Units.of(one.spec)
    kept = units.without(units.whole(), 1)
    candidates = np.array([0, 5, 11])
    found = rises_of(Trials(one.module, one.spec, loss, "stored"), units, kept, candidates)[candidates]
    before = mean_loss(masked(one.module, one.spec, kept))
    wanted = [
        mean_loss(masked(one.module, one.spec, units.without(kept, unit))) - before for unit in candidates
    ]
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_rises_by_norms_of_the_batch_are_those_of_a_network_that_was_cut_and_normed_anew() -> None:
    one = model()
    network = prunable(one.module, EXAMPLE)
    units = Units.of(one.spec, network.groups)

    def cut_loss(kept: np.ndarray) -> float:
        inputs, labels = images()
        with torch.no_grad():
            return float(F.cross_entropy(network.build(kept).train()(inputs), labels))

    kept = units.without(units.whole(), 2)
    candidates = np.array([0, 7])
    found = rises_of(Trials(one.module, one.spec, loss, "batch"), units, kept, candidates)[candidates]
    wanted = [cut_loss(units.without(kept, unit)) - cut_loss(kept) for unit in candidates]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_the_network_and_its_norms_stay_as_they_were() -> None:
    one = model()
    before = {name: tensor.clone() for name, tensor in one.module.state_dict().items()}
    draw_masks(one, losses(), WALKS, 0)
    for name, tensor in one.module.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)
    assert not one.module.training


def test_the_rises_of_drawn_masks_are_measured_again() -> None:
    one = model()
    units = Units.of(one.spec)
    masks = draw_masks(one, losses(), WALKS, 3)
    trials = Trials(one.module, one.spec, loss, "batch")
    for kept, rises in zip(masks.kept.numpy(), masks.rises.numpy(), strict=True):
        looked = np.flatnonzero(np.isfinite(rises))
        assert set(looked) <= set(units.removable(kept))
        np.testing.assert_allclose(rises_of(trials, units, kept, looked), rises, atol=1e-6)


def test_walks_lead_from_the_whole_network_to_smaller_ones() -> None:
    one = model()
    masks = draw_masks(one, losses(), WALKS, 0)
    left = masks.kept.sum(1).reshape(WALKS.walks, WALKS.steps)
    assert bool((left[:, 0] == masks.kept.shape[1]).all())
    assert bool((left.diff(dim=1) < 0).all())


def test_a_loss_that_is_not_finite_is_refused() -> None:
    def broken(module: nn.Module, seed: int) -> list[torch.Tensor]:
        return [torch.tensor(float("nan"))]

    with pytest.raises(TrainingError, match="not finite"):
        draw_masks(model(), broken, WALKS, 0)


def test_losses_without_a_batch_are_refused() -> None:
    with pytest.raises(NasplatError, match="no batch"):
        draw_masks(model(), lambda module, seed: [], WALKS, 0)


def test_the_module_that_was_given_keeps_its_mode() -> None:
    module = residual().train()
    draw_masks(data_model(module, EXAMPLE), losses(), WALKS, 0)
    assert module.training
