"""Mixture-of-Supernets by hand: softmax(W2 relu(W1 enc)), then one merge, then the slice."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from nasplat.elastic import Bank, Masks, Size, Slot, SoftArch, WeightSource, relax
from nasplat.elastic.weights.arch_router import ArchRouter
from nasplat.elastic.weights.encoding import ArchEncoding
from nasplat.space import Space, categorical, ordinal

SPACE = Space("s", [ordinal("out", (2, 4, 6)), ordinal("in", (3, 5)), categorical("op", ("a", "b"))])
ENCODING = ArchEncoding(SPACE.choices)
OUT, IN = Size(6, "out"), Size(5, "in")


def normal(tensors: Mapping[str, Tensor]) -> None:
    for tensor in tensors.values():
        nn.init.normal_(tensor)


def mixed(rows: int | None, experts: int = 3) -> WeightSource:
    torch.manual_seed(0)
    router = ArchRouter(ENCODING, experts, rows=rows, hidden=8)
    nn.init.normal_(router.second.weight)  # far from equal coefficients
    return WeightSource(Bank(Slot({"weight": (OUT, IN), "bias": (OUT,)}, normal), experts), router)


def coefficients(router: ArchRouter, features: Tensor) -> Tensor:
    """(rows, experts), by the formula."""
    hidden = torch.clamp(router.first.weight @ features + router.first.bias, min=0)
    logits = (router.second.weight @ hidden + router.second.bias).reshape(-1, router.experts)
    return torch.exp(logits) / torch.exp(logits).sum(1, keepdim=True)


@pytest.mark.parametrize("rows", [None, 6])
def test_experts_are_merged_by_the_formula_and_sliced_bias_alike(rows: int | None) -> None:
    source = mixed(rows)
    weights, biases = (torch.stack(source.bank.atoms(name)) for name in ("weight", "bias"))
    for arch in SPACE.enumerate():
        alpha = coefficients(source.router, torch.from_numpy(SPACE.encode(arch))).expand(6, 3)
        weight, bias = source(arch)
        o, i = arch["out"], arch["in"]
        torch.testing.assert_close(weight, torch.einsum("rk,krc->rc", alpha, weights)[:o, :i])
        torch.testing.assert_close(bias, torch.einsum("rk,kr->r", alpha, biases)[:o])


def test_coefficients_differ_from_one_architecture_to_another_and_from_row_to_row() -> None:
    router = mixed(rows=6).router
    first, second = (torch.stack(router(arch)) for arch in (SPACE.smallest(), SPACE.largest()))
    assert (first - second).abs().max() > 0.1
    assert (first[:, 0] - first[:, 1]).abs().max() > 0.1


@pytest.mark.parametrize("rows", [None, 6])
def test_a_masked_architecture_has_the_coefficients_of_the_slice(rows: int | None) -> None:
    router = mixed(rows).router
    for arch in SPACE.enumerate():
        ours, theirs = (torch.stack(router(a)) for a in (Masks.one_hot(SPACE, arch), arch))
        torch.testing.assert_close(ours, theirs)


def test_router_and_merge_stay_in_single_precision_under_autocast() -> None:
    source, arch = mixed(rows=6), SPACE.largest()
    with torch.autocast("cpu", torch.bfloat16):
        inside, weights = source.router(arch), source(arch)
    assert all(c.dtype == torch.float32 for c in (*inside, *weights))
    assert torch.stack(inside).equal(torch.stack(source.router(arch)))
    assert all(a.equal(b) for a, b in zip(weights, source(arch), strict=True))


def test_a_network_in_double_precision_is_routed_in_it() -> None:
    router = mixed(rows=None).double().router
    assert {c.dtype for c in router(SPACE.largest())} == {torch.float64}


@pytest.mark.parametrize("rows", [None, 6])
def test_a_network_in_half_precision_is_routed_and_merged_in_single_and_rounded_once(
    rows: int | None,
) -> None:
    source, arch = mixed(rows).bfloat16(), SPACE.largest()
    alpha = source.router(arch)
    assert {c.dtype for c in alpha} == {torch.float32}
    torch.testing.assert_close(sum(alpha), torch.ones_like(alpha[0]))
    for tensor, name in zip(source(arch), ("weight", "bias"), strict=True):
        atoms = [atom.float() for atom in source.bank.atoms(name)]
        merged = sum(c.reshape(-1, *[1] * (a.dim() - 1)) * a for c, a in zip(alpha, atoms, strict=True))
        assert tensor.equal(merged.bfloat16())


def test_one_expert_has_the_coefficient_one() -> None:
    weight, bias = (source := mixed(rows=6, experts=1))(SPACE.largest())
    assert weight.equal(source.bank.weight_0)
    assert bias.equal(source.bank.bias_0)


def test_a_mixture_compiles_to_one_graph_sliced_or_masked() -> None:
    source, arch = mixed(rows=6), SPACE.smallest()
    vector = relax(SPACE, [arch])[0]
    sliced = torch.compile(lambda: source(arch)[0], backend="eager", fullgraph=True)
    masked = torch.compile(
        lambda v: source(SoftArch.unpack(SPACE.choices, v))[0], backend="eager", fullgraph=True
    )
    with torch.no_grad():
        torch.testing.assert_close(sliced(), source(arch)[0])
        torch.testing.assert_close(masked(vector)[:2, :3], source(arch)[0])
