"""Pruned versions of a network as a space, and a study of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from nasplat import load_data, open_study
from nasplat.conformance import SPACE_PROMISES, check_space
from nasplat.data import evaluate
from nasplat.elastic import recalibrate
from nasplat.errors import NasplatError
from nasplat.measure import count_macs, count_params
from nasplat.plugins import load, load_object
from nasplat.supernet import Recipe, train_network

pruning = load("spaces", "pruning")

SOURCE = """
from torch import nn


def convnet(width: int = 8, classes: int = 10, input_shape: tuple[int, ...] = (1, 8, 8)) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(input_shape[0], width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(width, classes),
    )


def nothing() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


number = 3
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file of networks and the weights of one, whose first convolution has norms 8 to 1."""
    (tmp_path / "models.py").write_text(SOURCE)
    torch.manual_seed(0)
    network = load_object("models.py:convnet", tmp_path)()
    with torch.no_grad():
        first = network[0].weight
        first.mul_((torch.arange(8, 0, -1) / first.flatten(1).norm(dim=1)).reshape(-1, 1, 1, 1))
    save_file(network.state_dict(), tmp_path / "trained.safetensors")
    return tmp_path


def made(folder: Path, **arguments: Any) -> Any:
    return pruning(**{"model": "models.py:convnet", "input_shape": (1, 8, 8), "base": folder, **arguments})


@pytest.mark.parametrize("promise", SPACE_PROMISES)
def test_the_space_keeps_every_promise(folder: Path, promise: str) -> None:
    arguments = {"model": "models.py:convnet", "classes": 10, "input_shape": (1, 8, 8), "base": folder}
    assert check_space(pruning, only=promise, **arguments) == []


@pytest.mark.parametrize("promise", ["round trips", "exact size", "symmetric neighbours", "valid moves"])
def test_a_filtered_space_keeps_its_promises_too(folder: Path, promise: str) -> None:
    arguments = {"model": "models.py:convnet", "input_shape": (1, 8, 8), "base": folder, "ratio": 1.2}
    assert check_space(pruning, only=promise, within=0.5, **arguments) == []


def test_every_group_is_a_choice_of_shares(folder: Path) -> None:
    space = made(folder, ratios=[1.0, 0.25])
    assert [(c.name, c.values, c.ordered) for c in space.choices] == [
        ("0", (0.25, 1.0), True),
        ("4", (0.25, 1.0), True),
    ]


def test_the_largest_architecture_is_the_trained_network_itself(folder: Path) -> None:
    space = made(folder, weights="trained.safetensors")
    whole = load_object("models.py:convnet", folder)()
    whole.load_state_dict(space.whole.module.state_dict())
    x = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(space.build(space.largest()).eval()(x), whole.eval()(x))


def test_the_weakest_channels_of_the_trained_network_go(folder: Path) -> None:
    space = made(folder, weights="trained.safetensors", score="l1")
    small = space.build({"0": 0.5, "4": 1.0})
    torch.testing.assert_close(small[0].weight, space.whole.module[0].weight[:4])
    assert (small[0].out_channels, small[4].in_channels, small[4].out_channels) == (4, 4, 8)


def test_networks_without_trained_weights_are_drawn_by_the_seed(folder: Path) -> None:
    space = made(folder)
    arch = space.smallest()
    one, again, other = (space.build(arch, seed)[4].weight for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_a_pattern_decides_on_all_its_groups_and_the_others_stay_whole() -> None:
    space = pruning(
        model="nasplat.networks:resnet20",
        arguments={"widths": [4, 8, 8]},
        input_shape=(3, 8, 8),
        groups=["layer1.*", "layer2.?.conv1"],
    )
    assert [choice.name for choice in space.choices] == ["layer1.*", "layer2.?.conv1"]
    small = space.build({"layer1.*": 0.5, "layer2.?.conv1": 0.25})
    assert [block.conv1.out_channels for block in small.layer1] == [2, 2, 2]
    assert [block.conv1.out_channels for block in small.layer2] == [2, 2, 2]
    assert [block.conv1.out_channels for block in small.layer3] == [8, 8, 8]


def test_the_ratio_is_that_of_counted_networks(folder: Path) -> None:
    space = made(folder)
    example = torch.randn(1, 1, 8, 8)
    whole = space.build(space.largest())
    for arch in list(space.enumerate())[:6]:
        small = space.build(arch)
        macs, params = (
            (count_macs(n, example) for n in (small, whole)),
            (count_params(n) for n in (small, whole)),
        )
        share = [a / b for a, b in (tuple(macs), tuple(params))]
        assert space.ratio(arch) == pytest.approx(share[0] / share[1])


def test_a_ratio_filter_leaves_the_architectures_near_it(folder: Path) -> None:
    whole = made(folder)
    near = made(folder, ratio=1.2, within=0.3)
    wanted = [arch for arch in whole.enumerate() if abs(whole.ratio(arch) - 1.2) < 0.3]
    assert 0 < len(wanted) < whole.size
    assert list(near.enumerate()) == wanted
    assert near.sample(np.random.default_rng(0)) in wanted


def test_the_bootstrap_finds_the_ratio_that_good_architectures_share(folder: Path) -> None:
    space = made(folder, ratios=[0.25, 0.5, 0.75, 1.0])
    archs = list(space.enumerate())
    low, middle, high = space.likely_ratios(archs, [-abs(space.ratio(arch) - 1.2) for arch in archs])
    ratios = [space.ratio(arch) for arch in archs]
    assert low <= middle <= high
    assert middle == pytest.approx(1.2, abs=0.1)
    assert high - low < max(ratios) - min(ratios)
    with pytest.raises(NasplatError, match="16 architectures have 0 values"):
        space.likely_ratios(archs, [])


def test_other_weights_and_other_files_make_other_hashes(folder: Path) -> None:
    hashes = {
        made(folder).hash,
        made(folder, weights="trained.safetensors").hash,
        made(folder, score="l1").hash,
    }
    (folder / "models.py").write_text(SOURCE + "\n# another\n")
    assert len(hashes | {made(folder).hash}) == 4


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"ratios": [0.5, 2.0]}, r"ratios = \[0.5, 2.0\]: expected different shares above 0 and at most 1"),
        ({"ratios": []}, r"ratios = \[\]"),
        ({"score": "l3"}, "unknown score 'l3'; known: l1"),
        ({"score": "taylor"}, "score 'taylor' looks at data"),
        ({"groups": ["layer9.*"]}, "groups: 'layer9.*' fits no group of its own; known: 0, 4"),
        ({"ratio": 90.0}, "ratio = 90.0: no architecture is within 0.1 of it, they have"),
        ({"weights": "gone.safetensors"}, "no file .*gone.safetensors"),
        ({"weights": "models.py"}, "models.py is no safetensors file"),
        ({"weights": "trained.safetensors", "arguments": {"width": 4}}, r"0.bias is \(8,\), expected \(4,\)"),
        ({"model": "models.py:number"}, "models.py:number is int: give a function"),
        ({"model": "models.py:nothing"}, "no channels of the network can be cut"),
        ({"arguments": {"widht": 4}}, "has no key 'widht'; did you mean 'width'"),
    ],
)
def test_mistakes_are_told_in_one_line(folder: Path, arguments: dict[str, Any], line: str) -> None:
    with pytest.raises(NasplatError, match=line) as told:
        made(folder, **arguments)
    assert "\n" not in str(told.value)


STUDY = """
study = { name = "pruning", trials = 4 }
data = { name = "digits" }
space = { name = "pruning", model = "models.py:convnet", weights = "trained.safetensors", ratios = [0.5, 1.0] }
sampler = { name = "random" }
objective = [
    { metric = "nasplat.spaces.pruning:after_cutting", direction = "maximize" },
    { metric = "accuracy", epochs = 4, learning_rate = 0.1 },
    { metric = "macs" },
]
"""


def test_pruning_a_trained_network_is_a_study_like_any_other(folder: Path) -> None:
    torch.manual_seed(0)
    data = load_data("digits")
    whole: nn.Module = load_object("models.py:convnet", folder)()
    train_network(whole, data, Recipe(epochs=6, learning_rate=0.1))
    save_file(whole.state_dict(), folder / "trained.safetensors")
    (folder / "study.toml").write_text(STUDY)
    study = open_study(folder)
    assert study.run().states == {"complete": 4}
    frame = study.frame.sort_values("macs")
    cut, tuned = frame["nasplat.spaces.pruning:after_cutting"], frame["accuracy"]
    assert frame["macs"].iloc[-1] == count_macs(whole, torch.randn(1, 1, 8, 8))
    recalibrate(whole, [data.train.inputs])
    assert cut.iloc[-1] == pytest.approx(evaluate(whole, data.validation, data.task), abs=0.05)
    assert cut.iloc[0] < cut.iloc[-1]
    assert tuned.iloc[0] > cut.iloc[0]  # half of all channels: finetuning brings back what cutting took
