"""Devices by name, and what is written down about them."""

from __future__ import annotations

import dataclasses
import platform
from pathlib import Path

import pytest
import torch

from nasplat.errors import NasplatError
from nasplat.measure import device_info, pick_device
from nasplat.measure.device import _gpu_driver, _processor


def test_the_cpu_is_named_with_its_kernel_and_torch() -> None:
    info = device_info("cpu")
    assert info.name
    assert info.kind == "cpu"
    assert platform.release() in info.driver
    assert info.torch == torch.__version__
    assert info.cores >= 1


def test_the_fingerprint_is_stable_and_changes_with_every_field() -> None:
    info = device_info()
    assert info.fingerprint == device_info(torch.device("cpu")).fingerprint == info.to_json()["fingerprint"]
    for change in ({"name": "other"}, {"kind": "cuda"}, {"driver": "0"}, {"torch": "0"}, {"cores": 999}):
        assert dataclasses.replace(info, **change).fingerprint != info.fingerprint


def test_a_missing_gpu_is_told_with_what_to_use_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(NasplatError, match=r"'cuda:0' is not here: .* use 'cpu' or 'auto'"):
        pick_device("cuda:0")
    assert pick_device("auto") == torch.device("cpu")


def test_gpus_are_found_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("auto") == pick_device("cuda") == torch.device("cuda")
    assert pick_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(NasplatError, match="sees 2 GPUs"):
        pick_device("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "CPU", "", "cuda:-1"])
def test_an_unknown_name_lists_the_known_ones(name: str) -> None:
    with pytest.raises(NasplatError, match="choose 'cpu', 'cuda', 'cuda:0' or 'auto'"):
        pick_device(name)


def test_the_processor_is_read_from_the_table_of_the_system(tmp_path: Path) -> None:
    table = tmp_path / "cpuinfo"
    table.write_text("processor\t: 0\nmodel name\t: A Fine CPU @ 2 GHz\nmodel name\t: A Fine CPU @ 2 GHz\n")
    assert _processor(table) == "A Fine CPU @ 2 GHz"
    assert _processor(tmp_path / "absent")


def test_the_gpu_driver_is_read_from_the_table_of_the_system(tmp_path: Path) -> None:
    table = tmp_path / "version"
    table.write_text(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\n"
    )
    assert _gpu_driver(table).startswith("550.54.15, ")
