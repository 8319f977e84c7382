"""Reconstruction against closed forms, and on a network trained on digits."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from nasplat.channels import ChannelSpec, channel_spec
from nasplat.compress import Reconstruction, reconstruct
from nasplat.compress.moments import Moments, through
from nasplat.data import batches, evaluate
from nasplat.data.digits import digits
from nasplat.errors import NasplatError

from .blocks import lived_in


def without(spec: ChannelSpec, *numbers: int) -> NDArray[np.bool_]:
    kept = np.ones(max(space.stop for space in spec.spaces), dtype=bool)
    kept[list(numbers)] = False
    return kept


def hidden(spec: ChannelSpec, place: int = 0) -> int:
    """The first channel of a free space."""
    return [space for space in spec.spaces if space.kind == "hidden"][place].start


def twins(flatten: bool) -> nn.Module:
    """A network whose channel 2 is the same as its channel 0, behind norm and rectifier."""
    body = [nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU()]
    tail = (
        [nn.Flatten(), nn.Linear(100, 3)] if flatten else [nn.Conv2d(4, 3, 3, bias=False), nn.BatchNorm2d(3)]
    )
    network = lived_in(nn.Sequential(*body, *tail)).double()
    for tensor in (*network[0].parameters(), *network[1].parameters(), *network[1].buffers()):
        if tensor.ndim:
            tensor.data[2] = tensor.data[0]
    return network


@pytest.mark.parametrize("flatten", [True, False])
@pytest.mark.parametrize("data", [True, False])
def test_a_channel_that_has_a_twin_costs_nothing(flatten: bool, data: bool) -> None:
    network, x = twins(flatten), torch.randn(64, 2, 5, 5).double()
    spec = channel_spec(network, x)
    kept = without(spec, hidden(spec) + 2)
    exact = Reconstruction(ridge=1e-9)
    found = reconstruct(network, x, kept, batches=[x] if data else None, settings=exact)
    with torch.no_grad():
        torch.testing.assert_close(found.module(x), network(x), rtol=1e-5, atol=1e-5)
    weight = found.module[4 if flatten else 3].weight
    columns = slice(50, 75) if flatten else 2
    assert not weight[:, columns].any()
    assert {name: t.shape for name, t in found.module.state_dict().items()} == {
        name: t.shape for name, t in network.state_dict().items()
    }


def test_least_squares_on_data_is_that_of_numpy() -> None:
    network, x = (
        nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)).double(),
        torch.randn(40, 4).double(),
    )
    spec = channel_spec(network, x)
    first = hidden(spec)
    kept, free = without(spec, first + 1, first + 4), Reconstruction(ridge=0)
    found = reconstruct(network, x, kept, batches=[x[:15], x[15:]], settings=free)
    with torch.no_grad():
        read = torch.relu(network[0](x))[:, [0, 2, 3]].numpy()
        wanted = network(x).numpy()
    solved = np.linalg.lstsq(np.column_stack([read, np.ones(40)]), wanted, rcond=None)[0]
    np.testing.assert_allclose(found.module[2].weight[:, [0, 2, 3]].detach().numpy(), solved[:3].T, atol=1e-8)
    np.testing.assert_allclose(found.module[2].bias.detach().numpy(), solved[3], atol=1e-8)


def test_moments_behind_a_rectifier_are_those_of_the_arc_cosine_kernel() -> None:
    rho = torch.tensor([[1.0, 0.5, -0.3], [0.5, 1.0, 0.0], [-0.3, 0.0, 1.0]]).double()
    scale = torch.tensor([1.0, 2.0, 0.5]).double()
    zero = torch.zeros(3).double()
    found = through(torch.relu, Moments(zero, rho * scale * scale[:, None], torch.arange(3)))
    angle = rho.clamp(-1, 1).acos()
    second = (angle.sin() + (torch.pi - angle) * angle.cos()) / (2 * torch.pi)  # Cho and Saul, order 1
    second = second * scale * scale[:, None]
    torch.testing.assert_close(found.covariance + found.mean * found.mean[:, None], second, rtol=0, atol=3e-3)


@cache
def trained() -> nn.Module:
    """A small convolutional network that has learned the digits."""
    torch.manual_seed(0)
    data, source = digits(seed=0), torch.Generator().manual_seed(0)
    layers: list[nn.Module] = []
    for inputs, width in ((1, 12), (12, 12), (12, 24)):
        layers += [nn.Conv2d(inputs, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    network = nn.Sequential(*layers, nn.AvgPool2d(4), nn.Flatten(), nn.Linear(96, 10))
    optimiser = torch.optim.AdamW(network.parameters(), 5e-3)
    for _ in range(5):
        for images, labels in batches(data.train, 64, generator=source):
            optimiser.zero_grad()
            F.cross_entropy(network(images), labels).backward()
            optimiser.step()
    return network.eval()


def least(network: nn.Module, spec: ChannelSpec, share: float) -> NDArray[np.bool_]:
    """All but a share of the channels of each hidden space, those of the smallest L1 norms."""
    norms = {
        n: t.detach().abs().flatten(1).sum(1).numpy() for n, t in network.named_parameters() if t.ndim > 1
    }
    kept = without(spec)
    for slot in spec.slots:
        if slot.axis == 0 and slot.parameter in norms and slot.channels.min() >= hidden(spec):
            order = np.argsort(norms[slot.parameter])[: int(share * slot.channels.size)]
            kept[slot.channels[0][order]] = False
    return kept


@pytest.mark.parametrize("share", [0.3, 0.5])
def test_on_digits_removal_by_l1_costs_less_with_reconstruction_and_least_with_data(share: float) -> None:
    network, data = trained(), digits(seed=0)
    x = data.train.inputs
    spec = channel_spec(network, x[:2])
    kept = least(network, spec, share)
    forms = {
        "plain": reconstruct(network, x[:2], kept, settings=Reconstruction(ridge=1e12, variance=False)),
        "free": reconstruct(network, x[:2], kept),
        "data": reconstruct(network, x[:2], kept, batches=[x[:256]]),
    }
    found = {name: evaluate(form.module, data.validation, data.task) for name, form in forms.items()}
    full = evaluate(network, data.validation, data.task)
    assert full > 0.9
    assert found["data"] > full - 0.1
    assert found["plain"] + 0.05 < found["free"] < found["data"], found


def test_a_kept_that_does_not_fit_is_refused_in_one_line() -> None:
    network, x = twins(True), torch.randn(2, 2, 5, 5).double()
    spec = channel_spec(network, x)
    with pytest.raises(NasplatError, match="give a numpy array of 9 bools"):
        reconstruct(network, x, np.ones(3, dtype=bool))
    with pytest.raises(NasplatError, match="leaves 4 no channel to read"):
        reconstruct(network, x, without(spec, *range(hidden(spec), hidden(spec) + 4)))
    with pytest.raises(NasplatError, match="batches is empty"):
        reconstruct(network, x, without(spec, hidden(spec)), batches=[])


def test_layers_that_cannot_be_rebuilt_are_told() -> None:
    class Squared(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * x

    network, x = nn.Sequential(nn.Conv2d(2, 4, 1), Squared(), nn.Conv2d(4, 2, 1)), torch.randn(1, 2, 3, 3)
    spec = channel_spec(network, x)
    found = reconstruct(network, x, without(spec, hidden(spec)))
    assert found.changed == ()
    assert "known operations" in found.left["2"]
    assert not found.module[2].weight[:, 0].any()
