"""Folding of batch norms against the network before."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from nasplat.compress import equalise, fold_norms
from nasplat.errors import NasplatError
from nasplat.networks import resnet20

from .blocks import lived_in

CHAINS = {
    "plain": (nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), (2, 3, 6, 6)),
    "biased": (nn.Sequential(nn.Conv1d(3, 4, 3, bias=True), nn.BatchNorm1d(4)), (2, 3, 6)),
    "grouped": (nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.BatchNorm2d(6)), (2, 4, 6, 6)),
    "volume": (nn.Sequential(nn.Conv3d(2, 4, 2), nn.BatchNorm3d(4)), (2, 2, 4, 4, 4)),
    "transposed": (nn.Sequential(nn.ConvTranspose2d(3, 4, 3), nn.BatchNorm2d(4)), (2, 3, 5, 5)),
    "transposed in groups": (
        nn.Sequential(nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), nn.BatchNorm2d(6)),
        (2, 4, 5, 5),
    ),
    "linear": (nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4)), (3, 5)),
    "without an affine part": (nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4, affine=False)), (3, 5)),
    "behind dropout": (nn.Sequential(nn.Linear(5, 4), nn.Dropout(), nn.BatchNorm1d(4)), (3, 5)),
}


@pytest.mark.parametrize("name", CHAINS)
def test_a_folded_network_computes_what_it_computed(name: str) -> None:
    chain, shape = CHAINS[name]
    network, x = lived_in(copy.deepcopy(chain)).double(), torch.randn(shape, dtype=torch.float64)
    found = fold_norms(network, x)
    torch.testing.assert_close(found.module(x), network(x), rtol=0, atol=1e-10)
    assert not found.left
    assert not any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in found.module.modules())


def test_all_norms_of_a_residual_network_fold_in_float32_and_the_original_stays() -> None:
    network, x = lived_in(resnet20(channels=1)), torch.randn(2, 1, 10, 10)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    found = fold_norms(network, x)
    with torch.no_grad():
        expected = network(x)
        torch.testing.assert_close(
            found.module(x), expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max())
        )
    assert len(found.changed) == 21
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


class Odd(nn.Module):
    """A network of norms that cannot be folded."""

    def __init__(self) -> None:
        super().__init__()
        self.read_twice, self.norm1 = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)
        self.run_twice, self.norm2 = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)
        self.tied, self.other, self.norm3 = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)
        self.other.weight = self.tied.weight
        self.moving, self.norm4 = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2, track_running_stats=False)
        self.norm5, self.norm6 = nn.BatchNorm2d(2), nn.GroupNorm(1, 2)
        self.tokens, self.norm7 = nn.Linear(3, 3), nn.BatchNorm1d(2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.read_twice(x)
        y = self.norm1(y) + y
        y = self.norm2(self.run_twice(self.run_twice(y)))
        y = self.norm3(self.tied(self.other(y)))
        y = self.norm6(self.norm5(torch.relu(self.norm4(self.moving(y)))))
        return self.norm7(self.tokens(y.flatten(2)[..., :3]))


def test_norms_that_cannot_be_folded_stay_and_say_why() -> None:
    network, x = lived_in(Odd()).double(), torch.randn(2, 2, 3, 3, dtype=torch.float64)
    found = fold_norms(network, x)
    torch.testing.assert_close(found.module(x), network(x), rtol=0, atol=1e-10)
    assert found.changed == ()
    assert set(found.left) == {f"norm{n}" for n in range(1, 8)}
    assert "also reads" in found.left["norm1"]
    assert "2 places" in found.left["norm2"]
    assert "other.weight" in found.left["norm3"]
    assert "running statistics" in found.left["norm4"]
    assert "no weights of its own" in found.left["norm5"]
    assert "places, not channels" in found.left["norm7"]


class Deciding(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_what_does_not_trace_or_fit_is_refused_in_one_line() -> None:
    with pytest.raises(NasplatError, match=r"^Deciding cannot be traced by torch.fx .*$"):
        fold_norms(Deciding(), torch.randn(2, 3))
    with pytest.raises(NasplatError, match="does not take an example of shape"):
        fold_norms(nn.Linear(3, 4), torch.randn(2, 5))
    with pytest.raises(NasplatError, match="is not a torch"):
        fold_norms(torch.relu, torch.randn(2, 5))  # type: ignore[arg-type]


def test_a_module_in_training_keeps_its_statistics_mode_and_random_numbers() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(), nn.Flatten()).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    x = torch.randn(1, 1, 3, 3)  # one value for each channel, which a norm in training refuses
    numbers = torch.get_rng_state()
    assert fold_norms(network, x).changed == ("1",)
    assert torch.equal(numbers, torch.get_rng_state())
    assert all(part.training for part in network.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


class Mirrored(nn.Module):
    """An encoder whose weight the forward reads again, on its own, to decode."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.norm, self.middle = nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        code = torch.relu(self.middle(torch.relu(self.norm(self.encoder(x)))))
        return nn.functional.linear(code, self.encoder.weight.t())


def test_a_layer_whose_weight_is_read_on_its_own_stays() -> None:
    network, x = lived_in(Mirrored()), torch.randn(5, 4)
    found = fold_norms(network, x)
    assert "encoder.weight is also read on its own" in found.left["norm"]
    torch.testing.assert_close(found.module(x), network(x))
    network.norm = nn.Identity()
    assert "encoder" in equalise(network, x).left
