"""Mean and covariance of activations, read from batch norms instead of data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import cast

import numpy as np
import torch
from torch import Tensor, fx, nn

from nasplat.channels import ChannelSpec
from nasplat.compress.equalisation import is_homogeneous
from nasplat.compress.norms import affine
from nasplat.compress.tracing import CONVOLUTIONS, NORMS, Norm, View
from nasplat.measure.symbolic import plain_word

NODES, TERMS = 96, 12
"""Nodes of the quadrature, and terms of the Hermite series."""

POINTWISE = (
    nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.ReLU6, nn.Hardtanh, nn.SiLU, nn.GELU, nn.Hardswish, nn.Hardsigmoid,
    nn.Sigmoid, nn.Tanh, nn.ELU, nn.SELU, nn.CELU, nn.Mish, nn.Softplus,
)  # fmt: skip
POINTWISE_WORDS = frozenset((
    "relu", "leaky_relu", "relu6", "hardtanh", "silu", "gelu", "hardswish", "sigmoid", "tanh", "elu", "mish",
))  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Of the activations of some channels, over examples and places: mean (c,), covariance (c, c), both float64.

    numbers (c,): their channel numbers.
    """

    mean: Tensor
    covariance: Tensor
    numbers: Tensor


def moments_of(view: View, spec: ChannelSpec, *, elementwise: bool = True) -> dict[fx.Node, Moments]:
    """Moments of what nodes give, as far as batch norms tell them.

    What leaves a batch norm is taken as normal with mean beta and standard deviation |gamma| (section 4.2.1 of
    arXiv:1906.04721). Correlations come from the filters before it, whose inputs are taken as independent between
    places, with the moments that they have here or, where these are not known, mean 0 and variance 1. An elementwise
    function is expanded in Hermite polynomials (see `through`). Sums take their terms as independent; pooling is taken
    as if it changed nothing, which makes the mean behind max pooling too small. Nodes behind anything else are missing.
    """
    numbers = {slot.parameter: slot.channels for slot in spec.slots if slot.axis == 0}
    found: dict[fx.Node, Moments] = {}
    for node in view.nodes:
        given = [found.get(one) for one in node.all_input_nodes]
        result = (
            _after(view, node, given, numbers) if elementwise or not _is_elementwise(view, node) else given[0]
        )
        if result is not None:
            found[node] = result
    return found


def through(function: Callable[[Tensor], Tensor], before: Moments) -> Moments:
    """Moments of f(x) for x jointly normal with the moments before; f works element by element on (nodes, c).

    With x_i = m_i + s_i z and c_n(i) = E[f(x_i) He_n(z)] / sqrt(n!): mean c_0(i), covariance
    sum over n >= 1 of c_n(i) c_n(j) rho_ij^n (Mehler's formula), to TERMS, what is left
    of variances as one more. c_n by Gauss quadrature.
    """
    places, weights, polynomials = _quadrature()
    deviation = before.covariance.diagonal().clamp_min(0).sqrt()
    values = function(before.mean + places[:, None] * deviation).double()
    coefficients = (polynomials * weights) @ values  # (terms, c)
    mean = coefficients[0]
    scale = deviation.clamp_min(1e-12)
    rho = (before.covariance / scale / scale[:, None]).clamp(-1, 1)
    covariance, power = torch.zeros_like(rho), torch.ones_like(rho)
    for one in coefficients[1:]:
        power = power * rho
        covariance += power * one[:, None] * one
    variance = weights @ values.square() - mean.square()
    rest = (variance - coefficients[1:].square().sum(0)).clamp_min(0).sqrt()
    return Moments(mean, covariance + power * rho * rest[:, None] * rest, before.numbers)


@cache
def _quadrature() -> tuple[Tensor, Tensor, Tensor]:
    """Nodes (q,), weights (q,) and normalised Hermite polynomials (terms, q) for a standard normal variable."""
    places, weights = np.polynomial.hermite_e.hermegauss(NODES)
    polynomials = np.stack(
        [
            np.polynomial.hermite_e.hermeval(places, np.eye(TERMS)[n]) / math.sqrt(math.factorial(n))
            for n in range(TERMS)
        ]
    )
    return tuple(map(torch.from_numpy, (places, weights / weights.sum(), polynomials)))  # type: ignore[return-value]


def _after(
    view: View, node: fx.Node, given: list[Moments | None], numbers: Mapping[str, np.ndarray]
) -> Moments | None:
    """Moments of the result of one node from those of its inputs."""
    layer, word = view.layer(node), plain_word(node)
    if type(layer) in CONVOLUTIONS or type(layer) is nn.Linear:
        return _filtered(cast(nn.Conv2d, layer), given[0], numbers.get(f"{node.target}.weight"))
    if not given or any(one is None for one in given):
        return None
    first = cast(Moments, given[0])
    if type(layer) in NORMS and cast(Norm, layer).running_mean is not None:
        return _normed(cast(Norm, layer), first)
    if isinstance(layer, POINTWISE):
        return through(_in_float(layer), first)
    if layer is None and word in POINTWISE_WORDS and len(given) == 1:
        return through(_called(node), first)
    if word in ("add", "iadd") and len(given) == 2 and given[0] is not given[1]:
        return _added(first, cast(Moments, given[1]))
    if word in ("cat", "concat"):
        return _beside(cast(list[Moments], given))
    return first if is_homogeneous(view, node) and len(given) == 1 else None


def _filtered(layer: nn.Conv2d, given: Moments | None, numbers: np.ndarray | None) -> Moments | None:
    if numbers is None:
        return None
    weight = dense(layer)
    inputs = weight.shape[1]
    if given is None or len(given.mean) != inputs:
        given = Moments(torch.zeros(inputs).double(), torch.eye(inputs).double(), torch.zeros(inputs).long())
    covariance = torch.einsum("oik,ij,pjk->op", weight, given.covariance, weight)
    mean = weight.sum(2) @ given.mean
    if layer.bias is not None:
        mean = mean + layer.bias.detach().double().cpu()
    return Moments(mean, covariance, torch.from_numpy(numbers.reshape(-1)))


def dense(layer: nn.Module) -> Tensor:
    """The weight of a convolution or linear layer as (o, i, k), float64 on the CPU, without groups."""
    weight = cast(Tensor, layer.weight).detach().double().cpu()
    weight = weight.reshape(*weight.shape[:2], -1)
    groups = int(cast(int, getattr(layer, "groups", 1)))
    if groups == 1:
        return weight
    rows, columns = weight.shape[0] // groups, weight.shape[1]
    found = weight.new_zeros(weight.shape[0], columns * groups, weight.shape[2])
    for g in range(groups):
        found[g * rows : (g + 1) * rows, g * columns : (g + 1) * columns] = weight[g * rows : (g + 1) * rows]
    return found


def _normed(norm: Norm, given: Moments) -> Moments | None:
    if len(given.mean) != norm.num_features:
        return None
    sign = affine(norm)[0].cpu().sign()
    gamma = torch.ones_like(given.mean) if norm.weight is None else norm.weight.detach().double().cpu().abs()
    beta = torch.zeros_like(given.mean) if norm.bias is None else norm.bias.detach().double().cpu()
    factor = sign * gamma / given.covariance.diagonal().clamp_min(1e-24).sqrt()
    return Moments(beta, given.covariance * factor * factor[:, None], given.numbers)


def _added(first: Moments, second: Moments) -> Moments | None:
    if first.mean.shape != second.mean.shape:
        return None
    return Moments(first.mean + second.mean, first.covariance + second.covariance, first.numbers)


def _beside(given: list[Moments]) -> Moments:
    covariance = cast(Tensor, torch.block_diag(*(one.covariance for one in given)))  # type: ignore[no-untyped-call]
    return Moments(
        torch.cat([one.mean for one in given]), covariance, torch.cat([one.numbers for one in given])
    )


def _in_float(layer: nn.Module) -> Callable[[Tensor], Tensor]:
    """The layer on copies of numbers of its own type."""
    like = next(layer.parameters(), torch.empty(0, dtype=torch.float64))

    def call(values: Tensor) -> Tensor:
        with torch.no_grad():
            found: Tensor = layer(values.to(like, copy=True))
            return found.cpu()

    return call


def _called(node: fx.Node) -> Callable[[Tensor], Tensor]:
    """The function or method that a node calls, with its other arguments."""
    found = getattr(torch.Tensor, node.target) if isinstance(node.target, str) else node.target
    function = cast(Callable[..., Tensor], found)

    def call(values: Tensor) -> Tensor:
        result: Tensor = function(values.clone(), *node.args[1:], **node.kwargs)
        return result

    return call


def _is_elementwise(view: View, node: fx.Node) -> bool:
    layer = view.layer(node)
    return isinstance(layer, POINTWISE) or (layer is None and plain_word(node) in POINTWISE_WORDS)
