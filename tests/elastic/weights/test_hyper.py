"""Hypernetworks: the formula, and whether what they compute grows with what they read."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.elastic import Bank, Size, Slot, WeightSource
from nasplat.elastic.weights.encoding import ArchEncoding
from nasplat.elastic.weights.hyper import FromHypernetwork, Hypernetwork, constant_norm, start_columns
from nasplat.space import Space, ordinal

SPACE = Space("s", [ordinal("a", (1, 2, 3, 4)), ordinal("b", (1, 2))])
ENCODING = ArchEncoding(SPACE.choices)


def normal(tensors: Mapping[str, Tensor]) -> None:
    for tensor in tensors.values():
        nn.init.normal_(tensor)


def computed(invariant: bool, atoms: int = 4) -> WeightSource:
    torch.manual_seed(0)
    trunk = Hypernetwork(ENCODING, atoms, hidden=16, magnitude_invariant=invariant)
    bank = Bank(Slot({"weight": (Size(6), Size(5)), "bias": (Size(6),)}, normal), atoms)
    return WeightSource(bank, FromHypernetwork(trunk))


def test_a_plain_hypernetwork_is_its_last_layer_of_its_last_hidden_units() -> None:
    source = computed(invariant=False)
    trunk, columns = source.router.hypernetwork, torch.stack(source.bank.atoms("weight"), dim=-1)
    for arch in SPACE.enumerate():
        z = torch.from_numpy(SPACE.encode(arch))
        h = F.leaky_relu(trunk.second(F.leaky_relu(trunk.first(z), 0.01)), 0.01)
        torch.testing.assert_close(source(arch)[0], F.linear(h, columns.flatten(0, 1)).view(6, 5))


def test_the_invariant_one_reads_cosines_and_sines_and_adds_to_weights_of_their_own() -> None:
    source = computed(invariant=True)
    trunk, (start, *columns) = source.router.hypernetwork, source.bank.atoms("bias")
    for arch in SPACE.enumerate():
        z = SPACE.encode(arch).tolist()
        angles = torch.tensor(z) * torch.pi / 2
        features = torch.tensor([*angles.cos(), *angles.sin()])
        h = F.leaky_relu(trunk.second(F.leaky_relu(trunk.first(features), 0.01)), 0.01)
        torch.testing.assert_close(source(arch)[1], start + torch.stack(columns, -1) @ h)


@pytest.mark.parametrize("z", [0.0, 0.1, 0.5, 1.0])
def test_the_encoding_has_the_same_norm_everywhere(z: float) -> None:
    assert float(constant_norm(torch.tensor([z, 0.3, z])).norm()) == pytest.approx(3**0.5, rel=1e-6)


@torch.no_grad()
def deviations(invariant: bool, inputs: list[float]) -> Tensor:
    """Of what hypernetworks with one input predict at the start, over 40 of them, for some values of it."""
    torch.manual_seed(0)
    one, variances = ArchEncoding([ordinal("z", (1, 2))]), torch.zeros(len(inputs))
    for _ in range(40):
        trunk = Hypernetwork(one, 400, hidden=400, magnitude_invariant=invariant)
        h = torch.stack([trunk.activations(torch.tensor([z])) for z in inputs])
        variances += (h @ torch.randn(h.shape[1], 400)).var(1)
    return variances.sqrt()


def test_plain_predictions_are_proportional_to_the_input_and_invariant_ones_are_not() -> None:
    inputs = [0.1, 0.25, 0.5, 0.75, 1.0]
    plain, invariant = (deviations(kind, inputs) for kind in (False, True))
    torch.testing.assert_close(plain / plain[-1], torch.tensor(inputs), rtol=0.05, atol=0)
    torch.testing.assert_close(invariant / invariant[-1], torch.ones(5), rtol=0.05, atol=0)


def test_a_plain_hypernetwork_is_exactly_homogeneous_at_the_start() -> None:
    trunk, z = Hypernetwork(ENCODING, 5, magnitude_invariant=False), torch.tensor([0.4, 0.7])
    torch.testing.assert_close(trunk.activations(0.25 * z), 0.25 * trunk.activations(z))


@torch.no_grad()
def test_columns_start_by_the_fan_out_of_each_tensor_and_the_first_atom_stays() -> None:
    torch.manual_seed(0)
    bank = Bank(Slot({"weight": (Size(100), Size(64)), "bias": (Size(400),)}, normal), 3)
    first = bank.weight_0.clone()
    start_columns(bank, magnitude_invariant=True)
    assert bank.weight_0.equal(first)
    assert float(bank.weight_1.std()) == pytest.approx(1 / 80, rel=0.05)
    assert float(bank.bias_2.std()) == pytest.approx(1 / 20, rel=0.15)


@torch.no_grad()
def test_plain_columns_together_start_as_large_as_the_layer() -> None:
    torch.manual_seed(0)
    bank = Bank(Slot({"weight": (Size(100), Size(64))}, normal), 4)
    start_columns(bank, magnitude_invariant=False)
    assert float(sum(bank.atoms("weight")).std()) == pytest.approx(1, rel=0.05)


def test_one_hypernetwork_serves_many_layers_and_theta_zero_is_plain() -> None:
    source = computed(invariant=True)
    assert source.router(SPACE.largest())[0] == 1.0
    assert "router" not in " ".join(source.state_dict())  # it is the network's, not the layer's
