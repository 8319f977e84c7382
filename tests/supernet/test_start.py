"""A supernet takes up the weights of its largest network as an ordinary one, for every family; or nothing at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from nasplat import load
from nasplat.elastic import (
    Bank,
    Constant,
    ElasticConv2d,
    ElasticLinear,
    ElasticSpace,
    Key,
    Norms,
    Size,
    Slot,
    WeightSource,
    extract,
    keyed,
)
from nasplat.errors import TrainingError
from nasplat.space import Arch, ordinal
from nasplat.supernet import load_start, save_weights
from nasplat.supernet.start import places_of

SMALL: dict[str, dict[str, Any]] = {
    "elastic_convnet": {"stages": 2, "depth": (1, 2), "width": (4, 8), "kernel": (1, 3), "expand": (0.5, 1)},
    "ofa_mobilenet": {"depth": (1, 2), "kernel": (3, 5), "width": 0.25},
    "ofa_resnet": {"depth": (1, 2), "width": (0.125, 0.25)},
    "mixpath": {"width": (8, 8), "depth": (1, 2), "kernel": (3, 5), "expand": (2, 3), "stem": 8, "head": 16},
    "slimmable": {"width": (0.25, 0.5)},
    "elastic_vit": {"depth": (1, 2), "width": (16, 32), "heads": (1, 2, 4), "pool": "token"},
}
FAMILIES = {name: {"input_shape": (3, 12, 12), "classes": 5} | table for name, table in SMALL.items()} | {
    "elastic_lm": {"input_shape": (6,), "classes": 11, "depth": (1, 2), "width": (16, 32)}
}


def family(name: str) -> ElasticSpace:
    space: ElasticSpace = load("spaces", name)(**FAMILIES[name])
    return space


def inputs(space: ElasticSpace, n: int = 4) -> Tensor:
    rng = torch.Generator().manual_seed(3)
    if space.vocabulary is not None:
        return torch.randint(space.vocabulary, (n, *(space.input_shape or ())), generator=rng)
    return torch.randn(n, *(space.input_shape or ()), generator=rng)


def trained(space: ElasticSpace) -> nn.Module:
    """The largest network as anybody would train it: a few steps of stochastic gradient descent."""
    module, x = space.build(space.largest(), seed=5).train(), inputs(space, 8)
    optimiser = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
    for _ in range(3):
        optimiser.zero_grad()
        outputs = module(x)
        F.cross_entropy(outputs, outputs.argmin(1)).backward()
        optimiser.step()
    return module.eval()


def unchanged(net: nn.Module, before: dict[str, Tensor]) -> bool:
    return all(tensor.equal(before[name]) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize("name", FAMILIES)
def test_the_largest_network_of_every_family_becomes_the_supernet_that_contains_it(
    name: str, tmp_path: Path
) -> None:
    space = family(name)
    module, net, path = trained(space), space.supernet(seed=1).eval(), tmp_path / "largest.safetensors"
    save_file(module.state_dict(), path)
    load_start(net, space, path)
    found = extract(net, space.largest())
    for key, tensor in module.state_dict().items():
        assert key.endswith("num_batches_tracked") or tensor.equal(found.state_dict()[key]), key
    x = inputs(space)
    with torch.no_grad():
        torch.testing.assert_close(net(x, space.largest()), module(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth"])
def test_a_supernet_goes_on_from_one_of_its_kind(suffix: str, tmp_path: Path) -> None:
    space, path = family("elastic_convnet"), tmp_path / f"net{suffix}"
    source, net = space.supernet(seed=1), space.supernet(seed=2)
    save_weights(source, path) if suffix == ".safetensors" else torch.save(source.state_dict(), path)
    load_start(net, space, path)
    assert unchanged(net, source.state_dict())


KEY = Key(("k",), 3, lambda arch: arch["k"])


def mixture(slot: Slot) -> WeightSource:
    return WeightSource(Bank(slot, atoms=2), Constant((0.3, 0.7)))


class Routed(nn.Module):
    """A norm and a layer with weights for every key, a layer whose weights are a mixture."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = ElasticConv2d(3, Size(4), 3, source=keyed(KEY))
        self.norm = Norms("keyed", key=KEY).norm(Size(4))
        self.head = ElasticLinear(4, 5, source=mixture)

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        y: Tensor = self.head(self.norm(self.conv(x, arch), arch).mean((2, 3)), arch)
        return y


def test_experts_and_the_norms_of_every_key_start_alike(tmp_path: Path) -> None:
    space = ElasticSpace("routed", [ordinal("k", (0, 1, 2))], network=Routed, input_shape=(3, 8, 8))
    module, net, path = trained(space), space.supernet().eval(), tmp_path / "largest.pt"
    torch.save(module.state_dict(), path)
    load_start(net, space, path)
    x = inputs(space)
    with torch.no_grad():
        for arch in space.enumerate():
            torch.testing.assert_close(net(x, arch), module(x), rtol=1e-5, atol=1e-6)


def test_what_the_largest_network_does_not_have_stays(tmp_path: Path) -> None:
    space = family("ofa_mobilenet")
    net, path = space.supernet(seed=1), tmp_path / "largest.safetensors"
    state = {
        n: t + 1 if t.is_floating_point() else t for n, t in space.build(space.largest()).state_dict().items()
    }
    save_file(state, path)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    load_start(net, space, path)
    kept = {name for name, tensor in net.state_dict().items() if tensor.equal(before[name])}
    assert kept
    assert all(".crop." in name for name in kept)


def test_the_places_of_a_narrower_network_are_the_leading_ones_of_a_wider() -> None:
    space = family("elastic_convnet")
    net = space.supernet(seed=1)
    large, small = places_of(net, space.largest()), places_of(net, space.smallest())
    everywhere = torch.cat([places.flatten() for places in large.values() if places.ndim])
    assert len(everywhere.unique()) == len(everywhere)
    for name, places in small.items():
        window = [slice(0, size) for size in places.shape[:2]]
        for size, full in zip(places.shape[2:], large[name].shape[2:], strict=True):
            window.append(slice((full - size) // 2, (full + size) // 2))
        assert places.equal(large[name][tuple(window)])


def spoilt(state: dict[str, Tensor], how: str) -> dict[str, Tensor]:
    if how == "missing":
        return {name: tensor for name, tensor in state.items() if name != "head.weight"}
    if how == "extra":
        return state | {"more": torch.zeros(2)}
    if how == "wrapped":
        return {f"module.{name}": tensor for name, tensor in state.items()}
    if how == "NaN":
        return state | {"head.weight": state["head.weight"] * torch.nan}
    return state | {"head.weight": torch.zeros(3, 7)}


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", r"head.weight is absent, expected \(5, 16\)"),
        ("extra", r"more is \(2,\), expected absent"),
        ("shape", r"head.weight is \(3, 7\), expected \(5, 16\)"),
    ],
)
def test_weights_that_do_not_fit_are_named_and_change_nothing(how: str, message: str, tmp_path: Path) -> None:
    space, path = family("elastic_convnet"), tmp_path / "largest.safetensors"
    net = space.supernet(seed=1)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    save_file(spoilt(dict(trained(space).state_dict()), how), path)
    with pytest.raises(
        TrainingError, match=f"does not fit the largest network of elastic_convnet: {message}"
    ):
        load_start(net, space, path)
    assert unchanged(net, before)


def test_a_wrapped_network_is_told_as_one_and_numbers_must_be_finite(tmp_path: Path) -> None:
    space, path = family("elastic_convnet"), tmp_path / "largest.safetensors"
    net = space.supernet(seed=1)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    messages = {"wrapped": r"begin with 'module.': save net.module", "NaN": "head.weight that are not finite"}
    for how, message in messages.items():
        save_file(spoilt(dict(trained(space).state_dict()), how), path)
        with pytest.raises(TrainingError, match=message):
            load_start(net, space, path)
        assert unchanged(net, before)


def test_a_supernet_of_another_size_is_told_as_one(tmp_path: Path) -> None:
    space, path = family("elastic_convnet"), tmp_path / "net.safetensors"
    other: ElasticSpace = load("spaces", "elastic_convnet")(**FAMILIES["elastic_convnet"] | {"stages": 1})
    save_weights(other.supernet(), path)
    with pytest.raises(TrainingError, match=r"does not fit the supernet of elastic_convnet: head.*expected"):
        load_start(space.supernet(), space, path)


class Unsafe:
    """Something that a file may not hold."""


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("gone.pt", None, "is missing"),
        ("w.bin", b"x", "expected .safetensors, .pt or .pth, not '.bin'"),
        ("w.safetensors", b"x", "holds more than tensors, or is damaged"),
        ("w.pt", b"x", "holds more than tensors, or is damaged"),
        ("w.pt", {"epoch": 3}, r"holds no state_dict of dense real tensors: save module.state_dict\(\)"),
        ("w.pt", {0: torch.zeros(2), "a": torch.zeros(2)}, "holds no state_dict"),
        ("w.pt", {"a": torch.eye(2).to_sparse()}, "holds no state_dict"),
        ("w.pt", {"a": torch.zeros(2, dtype=torch.complex64)}, "holds no state_dict"),
        ("w.pt", {"state_dict": {"a": torch.zeros(2)}, "epoch": 3}, "save the one under 'state_dict' alone"),
        ("w.pt", [1, 2], "holds no state_dict"),
        (
            "w.pt",
            {"weight": Unsafe()},
            r"w.pt holds more than tensors, or is damaged: save module.state_dict\(\)",
        ),
    ],
)
def test_a_file_that_holds_no_weights_is_one_line(
    file: str, content: object, message: str, tmp_path: Path
) -> None:
    path = tmp_path / file
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    space = family("elastic_convnet")
    with pytest.raises(TrainingError, match=message) as error:
        load_start(space.supernet(), space, path)
    assert "\n" not in str(error.value)


class Tied(nn.Module):
    """One layer under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = ElasticLinear(4, 4)
        self.second = ElasticLinear(4, 4)
        self.second.source = self.first.source

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        y: Tensor = self.second(self.first(x, arch), arch)
        return y


def test_layers_that_share_their_weights_must_have_the_same_ones(tmp_path: Path) -> None:
    space = ElasticSpace("tied", [ordinal("k", (0, 1))], network=Tied, input_shape=(4,))
    net, path = space.supernet(seed=1), tmp_path / "largest.pt"
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    torch.save(space.build(space.largest(), seed=2).state_dict(), path)
    with pytest.raises(TrainingError, match=r"has two values for first.*, which the supernet shares"):
        load_start(net, space, path)
    assert unchanged(net, before)
