"""Weights go to a file and come back; a file that does not fit changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from nasplat.errors import TrainingError
from nasplat.files import file_hash
from nasplat.supernet import load_weights, save_weights


def make(seed: int, width: int = 4) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width))


def test_weights_and_buffers_come_back_bit_for_bit(tmp_path: Path) -> None:
    net, other = make(0).to(memory_format=torch.channels_last), make(1)  # type: ignore[call-overload]
    net(torch.randn(2, 3, 5, 5))
    name = save_weights(net, tmp_path / "net.safetensors")
    assert name == file_hash(tmp_path / "net.safetensors")
    load_weights(other, tmp_path / "net.safetensors")
    assert all(
        a.equal(b) for a, b in zip(net.state_dict().values(), other.state_dict().values(), strict=True)
    )
    assert save_weights(other, tmp_path / "other.safetensors") == name


def test_weights_that_two_layers_share_are_written_and_read(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    save_weights(net, tmp_path / "net")
    before = net[0].weight.detach().clone()
    nn.init.zeros_(net[0].weight)
    load_weights(net, tmp_path / "net")
    assert net[1].weight.equal(before)


def test_weights_of_another_network_or_a_damaged_file_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "net"
    save_weights(make(0, width=5), path)
    net = make(1)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with pytest.raises(
        TrainingError, match=r"of another network: 0\.bias is \(5,\) float32, expected \(4,\) float32"
    ):
        load_weights(net, path)
    with pytest.raises(TrainingError, match=r"1\.bias is \(5,\) float32, expected absent"):
        load_weights(nn.Sequential(nn.Conv2d(3, 5, 3)), path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(TrainingError, match="is damaged"):
        load_weights(net, path)
    with pytest.raises(TrainingError, match="is missing"):
        load_weights(net, tmp_path / "nowhere")
    assert all(tensor.equal(before[name]) for name, tensor in net.state_dict().items())
