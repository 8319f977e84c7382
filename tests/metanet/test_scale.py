"""Canonical scales and signs: the same function, and the same network for all that differ in scales and signs."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nasplat.channels.graph import ParameterGraph
from nasplat.metanet.scale import canonical

from .by_hand import CNN, MLP, filled, structure

ACTIVATIONS = {"relu": F.relu, "tanh": torch.tanh}


def mlp(tensors: Mapping[str, Tensor], x: Tensor, activation: str) -> Tensor:
    for i in range(2):
        x = ACTIVATIONS[activation](F.linear(x, tensors[f"l{i}.weight"], tensors[f"l{i}.bias"]))
    return F.linear(x, tensors["l2.weight"], tensors["l2.bias"])


def cnn(tensors: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Convolutions with norms in evaluation mode."""
    for i in range(2):
        x = F.conv2d(x, tensors[f"l{i}.weight"], tensors[f"l{i}.bias"], padding=1)
        mean, var, weight, bias = (tensors[f"l{i}.n.{name}"] for name in ("mean", "var", "weight", "bias"))
        x = F.relu(F.batch_norm(x, mean, var, weight, bias))
    return F.linear(x.mean((2, 3)), tensors["l2.weight"], tensors["l2.bias"])


def rescaled(graph: ParameterGraph, activation: str) -> ParameterGraph:
    """Every hidden neuron times a number that its activation lets through, and divided by it where it is read."""
    tensors = dict(graph.tensors)
    for i in range(2):
        width = len(tensors[f"l{i}.bias"])
        a = torch.rand(width, dtype=torch.float64) * 5 + 0.1
        a = torch.where(torch.arange(width) % 2 == 0, -1.0, 1.0).double() if activation == "tanh" else a
        own = ("n.weight", "n.bias") if f"l{i}.n.weight" in tensors else ("weight", "bias")
        for name in own:
            tensors[f"l{i}.{name}"] = tensors[f"l{i}.{name}"] * a.view(
                -1, *[1] * (tensors[f"l{i}.{name}"].ndim - 1)
            )
        reader = tensors[f"l{i + 1}.weight"]
        tensors[f"l{i + 1}.weight"] = reader / a.view(1, -1, *[1] * (reader.ndim - 2))
    return ParameterGraph(graph.structure, tensors)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_an_mlp_keeps_its_function_and_loses_its_scales(activation: str) -> None:
    plain, x = filled(structure(MLP, activation=activation)), torch.randn(8, 2, dtype=torch.float64)
    other = rescaled(plain, activation)
    torch.testing.assert_close(mlp(other.tensors, x, activation), mlp(plain.tensors, x, activation))
    assert not torch.allclose(other.tensors["l1.weight"], plain.tensors["l1.weight"])
    one, two = canonical(plain), canonical(other)
    torch.testing.assert_close(mlp(one.tensors, x, activation), mlp(plain.tensors, x, activation))
    torch.testing.assert_close(dict(one.tensors), dict(two.tensors))


def test_behind_a_norm_its_scale_and_shift_are_divided() -> None:
    plain, x = filled(structure(CNN, norms=True)), torch.randn(2, 2, 5, 5, dtype=torch.float64)
    one, two = canonical(plain), canonical(rescaled(plain, "relu"))
    torch.testing.assert_close(cnn(one.tensors, x), cnn(plain.tensors, x))
    torch.testing.assert_close(dict(one.tensors), dict(two.tensors))
    assert torch.equal(one.tensors["l0.weight"], plain.tensors["l0.weight"])
    size = one.tensors["l0.n.weight"].square() + one.tensors["l0.n.bias"].square()
    torch.testing.assert_close(size, torch.ones_like(size))


@pytest.mark.parametrize("why", ["gelu", "sum"])
def test_what_has_no_such_symmetry_stays_as_it_is(why: str) -> None:
    layers = (("linear", 4, ()), ("linear", 4, ()), ("linear", 3, ()))
    form = structure(layers, activation="gelu") if why == "gelu" else structure(layers, skips=[(0, 1)])
    plain = filled(form)
    torch.testing.assert_close(dict(canonical(plain).tensors), dict(plain.tensors), rtol=0, atol=0)


def test_gradients_flow_and_a_dead_neuron_is_no_reason_to_break() -> None:
    plain = filled(structure(MLP))
    tensors = {name: tensor.clone() for name, tensor in plain.tensors.items()}
    tensors["l0.weight"][0], tensors["l0.bias"][0] = 0, 0
    given = {name: tensor.requires_grad_() for name, tensor in tensors.items()}
    found = canonical(ParameterGraph(plain.structure, given))
    gradients = torch.autograd.grad(
        sum(t.square().sum() for t in found.tensors.values()), list(given.values())
    )
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)


def test_a_batch_is_its_networks_one_by_one() -> None:
    many = filled(structure(MLP), batch=(3,))
    alone = canonical(
        ParameterGraph(many.structure, {name: tensor[1] for name, tensor in many.tensors.items()})
    )
    together = canonical(many)
    for name, tensor in alone.tensors.items():
        torch.testing.assert_close(together.tensors[name][1], tensor)
