"""The training loop: whose random state it moves."""

from __future__ import annotations

import pytest
import torch

from nasplat.prediction.training import seeded


def test_seeding_draws_anew_and_touches_the_state_of_the_cpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", moved.append)
    before = torch.get_rng_state()
    with seeded(3):
        first = torch.rand(2)
    with seeded(3):
        assert torch.equal(torch.rand(2), first)
    assert torch.equal(torch.get_rng_state(), before)
    assert not moved
