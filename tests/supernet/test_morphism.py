"""Sorted channels: the same functions, the important ones first, the optimiser in step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat import load
from nasplat.elastic import ElasticConv2d, ElasticSpace, Size
from nasplat.elastic.groups import Axis, ChannelGroup, channel_groups
from nasplat.errors import TrainingError
from nasplat.space import Arch, Space, ordinal
from nasplat.supernet import SortChannels
from nasplat.supernet.morphism import channel_order, widths

IMAGES: dict[str, dict[str, Any]] = {
    "elastic_convnet": {
        "stages": 2,
        "depth": (1, 2),
        "width": (4, 6, 8),
        "kernel": (1, 3),
        "expand": (0.5, 1, 2),
    },
    "ofa_mobilenet": {"depth": (1, 2), "kernel": (3, 5), "width": 0.25},
    "ofa_resnet": {"depth": (1, 2), "width": (0.125, 0.25)},
    "slimmable": {"width": (0.25, 0.5)},
    "elastic_vit": {"depth": (1, 2), "width": (16, 24, 32), "heads": (1, 2, 4), "pool": "token"},
}
FAMILIES = {name: {"input_shape": (3, 12, 12), "classes": 5} | table for name, table in IMAGES.items()} | {
    "elastic_lm": {"input_shape": (6,), "classes": 11, "depth": (1, 2), "width": (16, 24, 32)}
}


def family(name: str, **arguments: Any) -> tuple[ElasticSpace, nn.Module]:
    """The space, and its supernet in double precision with norms that have seen something."""
    space: ElasticSpace = load("spaces", name)(**FAMILIES[name] | arguments)
    net, rng = space.supernet(seed=1).double().eval(), torch.Generator().manual_seed(2)
    for key, tensor in net.state_dict().items():
        if "norm" in key or "running" in key:
            tensor.uniform_(0.5, 1.5, generator=rng)
    return space, net


def inputs(space: ElasticSpace) -> Tensor:
    rng = torch.Generator().manual_seed(3)
    if space.vocabulary is not None:
        return torch.randint(space.vocabulary, (2, *(space.input_shape or ())), generator=rng)
    return torch.randn(2, *(space.input_shape or ()), generator=rng, dtype=torch.float64)


def no_optimiser(net: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(net.parameters(), lr=0.1)


def only_largest(space: Space) -> Space:
    return space.restrict({c.name: [c.values[-1 if c.ordered else 0]] for c in space.choices})


@pytest.mark.parametrize("name", FAMILIES)
def test_the_largest_network_of_every_family_stays_what_it_is(name: str) -> None:
    space, net = family(name)
    x, archs = inputs(space), (space.largest(), space.smallest())
    with torch.no_grad():
        before, small = (net(x, arch) for arch in archs)
        SortChannels(only_largest(space))(net, no_optimiser(net))
        after, other = (net(x, arch) for arch in archs)
    torch.testing.assert_close(after, before, rtol=1e-9, atol=1e-9)
    assert not torch.allclose(other, small, rtol=1e-3)


@pytest.mark.parametrize("name", FAMILIES)
def test_architectures_that_are_trained_already_stay_what_they_are(name: str) -> None:
    space, net = family(name)
    trained = space.restrict({c.name: c.values[-2:] for c in space.choices if c.ordered})
    x, archs = inputs(space), (trained.largest(), trained.smallest())
    with torch.no_grad():
        before = [net(x, arch) for arch in archs]
        SortChannels(trained)(net, no_optimiser(net))
        for arch, outputs in zip(archs, before, strict=True):
            torch.testing.assert_close(net(x, arch), outputs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("norm", ["group", "evonorm_s0", "batch_statistics"])
def test_norms_that_need_neighbours_together_keep_them(norm: str) -> None:
    space, net = family("ofa_mobilenet", norm=norm)
    x, weights = inputs(space), {n: p.detach().clone() for n, p in net.named_parameters()}
    with torch.no_grad():
        before = net(x, space.largest())
        SortChannels(only_largest(space))(net, no_optimiser(net))
        torch.testing.assert_close(net(x, space.largest()), before, rtol=1e-9, atol=1e-9)
    assert any(not p.equal(weights[n]) for n, p in net.named_parameters())


def test_channels_are_ordered_by_the_weights_that_read_them_within_bands() -> None:
    _, net = family("elastic_convnet", stages=1)
    group = next(g for g in channel_groups(net) if g.dimension.choices == ("width1",))
    columns = [p.tensor.detach() for p in group.readers]
    importance = [
        sum(float(c[:, k].abs().sum()) for c in columns) for k in range(8)
    ]  # width1 is read by the second block and by the head
    assert len(columns) == 2
    by_hand = sorted(range(4), key=lambda k: -importance[k]) + sorted(
        range(4, 8), key=lambda k: -importance[k]
    )
    assert channel_order(group, [4, 8]).tolist() == by_hand
    assert channel_order(group, [8]).tolist() == sorted(range(8), key=lambda k: -importance[k])


def test_after_sorting_nothing_is_left_to_sort() -> None:
    space, net = family("elastic_convnet")
    sort = SortChannels(only_largest(space))
    sort(net, no_optimiser(net))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    sort(net, no_optimiser(net))
    assert all(tensor.equal(before[name]) for name, tensor in net.state_dict().items())


def test_the_widths_in_use_are_those_of_the_trained_architectures() -> None:
    space, net = family("elastic_convnet", stages=1)
    dimensions = {g.dimension.choices: g.dimension for g in channel_groups(net)}
    some = space.restrict({"width1": (4, 8), "expand1_1": (1.0, 2.0)})
    assert widths(dimensions[("width1",)], some) == [4, 8]
    assert widths(dimensions[("width1", "expand1_1")], some) == [4, 8, 16]
    assert widths(dimensions[("width1", "expand1_1")], only_largest(space)) == [16]


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_the_optimiser_goes_on_as_if_nothing_had_been_sorted(kind: str) -> None:
    def training(sort: bool) -> Tensor:
        space, net = family("elastic_convnet")
        x, y, arch = inputs(space), torch.tensor([1, 4]), space.largest()
        parameters = list(net.train().parameters())
        optimiser: torch.optim.Optimizer = (
            torch.optim.SGD(parameters, lr=0.05, momentum=0.9, nesterov=True)
            if kind == "sgd"
            else torch.optim.AdamW(parameters, lr=0.01)
        )
        for step in range(5):
            if sort and step == 3:
                SortChannels(only_largest(space))(net, optimiser)
            optimiser.zero_grad()
            F.cross_entropy(net(x, arch), y).backward()
            optimiser.step()
        with torch.no_grad():
            out: Tensor = net.eval()(x, arch)
        return out

    torch.testing.assert_close(training(sort=True), training(sort=False), rtol=1e-7, atol=1e-8)


def test_sorting_reaches_heads_and_hidden_units_of_transformers() -> None:
    _, net = family("elastic_vit")
    kinds = {g.dimension.choices[-1] for g in channel_groups(net)}
    assert kinds == {"width", "heads1", "heads2", "ratio1", "ratio2"}


class Scaled(nn.Module):
    """Two convolutions, and between them a scale for each channel that is no elastic layer's."""

    def __init__(self) -> None:
        super().__init__()
        width = Size(8, "width")
        self.first, self.second = ElasticConv2d(3, width, 1), ElasticConv2d(width, 5, 1)
        self.scale = nn.Parameter(torch.linspace(0.1, 3.0, 8))

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        y = self.first(x, arch)
        out: Tensor = self.second(y * self.scale[: y.shape[1], None, None], arch).mean((2, 3))
        return out


def test_channels_that_only_the_network_itself_knows_are_noticed() -> None:
    space = ElasticSpace("own", [ordinal("width", (4, 8))], network=Scaled, input_shape=(3, 4, 4))
    net = space.supernet()
    with pytest.raises(TrainingError, match=r"changes the largest network of own: .* \(sort = false\)"):
        SortChannels(only_largest(space))(net, no_optimiser(net))


def test_a_mixture_of_paths_has_no_channels_to_sort() -> None:
    space = load("spaces", "mixpath")(
        input_shape=(3, 8, 8), classes=5, width=(8,), depth=(1,), kernel=(3, 5), expand=(2,), stem=8, head=8
    )
    assert channel_groups(space.supernet()) == []


def test_channels_are_ordered_by_weights_on_several_devices() -> None:
    elsewhere, here = torch.ones(2, 4, device="meta"), torch.ones(3, 4)
    readers = (Axis(elsewhere, 1), Axis(here, 1))
    order = channel_order(ChannelGroup(Size(4, "width"), readers, readers), [4])
    assert order.device == elsewhere.device
