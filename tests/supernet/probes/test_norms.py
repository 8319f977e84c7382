"""Drift of running statistics, planted and measured; the dip of the largest network."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nasplat.elastic import recalibrate
from nasplat.supernet.probes import Look, look, make_probe
from nasplat.supernet.probes.drift import drift


def test_drift_is_zero_after_recalibration_and_what_was_planted_before(
    make_look: Callable[..., Look],
) -> None:
    at = make_look()
    module = at.subnet(at.space.largest())
    assert drift(module, at.calibration) == pytest.approx({"norms": 2, "mean_shift": 0, "log_variance": 0})
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            deviation = (norm.get_buffer("running_var") + norm.eps).sqrt()
            norm.get_buffer("running_mean").add_(0.5 * deviation)
            norm.get_buffer("running_var").mul_(torch.e).add_(norm.eps * (torch.e - 1))
    found = drift(module, at.calibration)
    assert found == pytest.approx({"norms": 2, "mean_shift": 0.5, "log_variance": 1}, rel=1e-4)


def test_statistics_of_one_architecture_do_not_fit_another(make_look: Callable[..., Look]) -> None:
    at = make_look()
    for _ in range(60):
        at.net(at.data.train.inputs, at.space.smallest())
    told = look(at, make_probe("norm_drift"))
    assert told["smallest"]["norms"] == 2
    assert told["smallest"]["mean_shift"] < 0.05 < told["largest"]["mean_shift"]


def test_network_without_running_statistics_has_no_drift() -> None:
    assert drift(nn.Linear(2, 2), [torch.zeros(3, 2)]) == {"norms": 0}


def test_dip_is_the_rise_of_the_largest_networks_validation_loss(make_look: Callable[..., Look]) -> None:
    at, probe = make_look(), make_probe("full_net_dip")
    module, (inputs, targets) = (
        at.subnet(at.space.largest()),
        (at.data.validation.inputs, at.data.validation.targets),
    )
    recalibrate(module, at.calibration)
    first = look(at, probe)
    with torch.no_grad():
        assert first["loss"] == pytest.approx(float(F.cross_entropy(module(inputs), targets)), rel=1e-5)
        assert (first["rise"], first["largest_rise"]) == (None, 0)
        at.net.get_parameter("head.source.bank.weight_0").mul_(-40)  # worse
        second = look(at, probe, first)
        at.net.get_parameter("head.source.bank.weight_0").mul_(-1 / 40)  # as it was
        third = look(at, probe, second)
    assert second["rise"] == second["largest_rise"] == pytest.approx(second["loss"] - first["loss"])
    assert second["rise"] > 1
    assert third["rise"] == pytest.approx(-second["rise"], rel=1e-4)
    assert third["largest_rise"] == second["largest_rise"]
