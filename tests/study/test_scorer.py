"""What scores an architecture on a device: what is part of a number's origin, and what is no number at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.backends import cudnn

from nasplat import Study
from nasplat.errors import NasplatError
from nasplat.measure import DeviceInfo
from nasplat.scoring import ScoreResult
from nasplat.study import scorer, scores
from nasplat.study.assembly import assemble

WriteStudy = Callable[..., Study]
DATA = '[data]\nname = "toy.py:parity"\n'


def test_a_number_of_a_gpu_has_its_name_in_its_origin(
    write_study: WriteStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scores, "device_info", lambda _: DeviceInfo("Card 1", "cuda", "", "", 1))
    assembly = assemble(write_study(DATA))
    here, there = (scores._metric("nwot", 8, torch.device(kind), assembly) for kind in ("cpu", "cuda"))
    assert there.origin == {**here.origin, "device": "Card 1"}
    assert "device" not in here.origin  # the one that trials look for


def test_a_gpu_computes_in_float32_and_in_one_order_only_while_it_scores() -> None:
    before = (cudnn.allow_tf32, cudnn.deterministic)
    with scorer.exact(torch.device("cuda")):
        assert (cudnn.allow_tf32, cudnn.deterministic) == (False, True)
    assert (cudnn.allow_tf32, cudnn.deterministic) == before


def test_a_device_without_memory_left_is_no_failure_of_a_network(
    write_study: WriteStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = ScoreResult(float("nan"), {}, 0.0, "failed", "OutOfMemoryError: CUDA out of memory.")
    monkeypatch.setattr(scorer, "score", lambda *_, **__: {"nwot": full})
    study = write_study(DATA)
    with pytest.raises(NasplatError, match=r"cpu has no memory left for nwot of .*: choose fewer workers"):
        study.scores(["nwot"], samples=2)
    monkeypatch.undo()
    assert study.scores(["nwot"], samples=2)["nwot"].notna().all()  # nothing was stored


@pytest.mark.parametrize("workers", [1, 2])
def test_a_network_that_cannot_be_built_is_one_line(write_study: WriteStudy, workers: int) -> None:
    study = write_study(DATA, space='name = "toy.py:FRAGILE"')
    wanted: dict[str, Any] = {"samples": 60, "workers": workers}
    with pytest.raises(
        NasplatError, match="cannot be built on cpu: RuntimeError: round networks do not exist"
    ):
        study.scores(["synflow"], **wanted)
