"""Training on the manifold of low-rank weights, the rank found on the way."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.compress.low_rank import shared
from nasplat.errors import NasplatError


class DynamicalLowRank(nn.Module):
    """A linear layer or 2d convolution of weight W = U S V^T (arXiv:2205.13571), which `DlrtStep` trains.

    left U (o, r) and right V (i * k, r) have orthonormal columns, core S (r, r) is any matrix; o outputs, i inputs, k
    elements of a kernel. x as the layer it is made of. Made from the leading singular vectors of that layer's weight.
    wings: K = U S and L = V S^T as tensors of their own, while a step asks for their gradients, else None.
    """

    def __init__(self, layer: nn.Linear | nn.Conv2d, rank: int) -> None:
        super().__init__()
        _check(layer, rank)
        left, values, right = torch.linalg.svd(layer.weight.detach().flatten(1), full_matrices=False)
        self.left = nn.Parameter(left[:, :rank].clone())
        self.core = nn.Parameter(values[:rank].diag())
        self.right = nn.Parameter(right[:rank].T.clone())
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach().clone())
        self.kernel = tuple(layer.weight.shape[1:])
        self.form = None if isinstance(layer, nn.Linear) else (layer.stride, layer.padding, layer.dilation)
        self.wings: tuple[Tensor, Tensor] | None = None

    @property
    def rank(self) -> int:
        """The present rank r."""
        return len(self.core)

    @property
    def weight(self) -> Tensor:
        """The whole weight, in the shape of the layer it stands for."""
        return (self.left @ self.core @ self.right.T).reshape(len(self.left), *self.kernel)

    def forward(self, x: Tensor) -> Tensor:
        if self.wings is None:
            result = self._product(x, self.left @ self.core, self.right)
        else:  # K V^T + U L^T - U S V^T is W, with gradients dW V for K and dW^T U for L
            k, l = self.wings  # noqa: E741  # the letters of the paper
            u, s, v = self.left.detach(), self.core.detach(), self.right.detach()
            result = self._product(x, torch.cat([k, u, -u @ s], 1), torch.cat([v, l, v], 1))
        if self.bias is None:
            return result
        return result + (self.bias if self.form is None else self.bias[:, None, None])

    def _product(self, x: Tensor, wide: Tensor, narrow: Tensor) -> Tensor:
        """x with the weight wide (o, r) narrow (i, r)^T."""
        if self.form is None:
            return x @ narrow @ wide.T
        stride, padding, dilation = self.form
        maps = F.conv2d(x, narrow.T.reshape(-1, *self.kernel), None, stride, padding, dilation)
        return F.conv2d(maps, wide[:, :, None, None])

    def plain(self) -> nn.Sequential:
        """Two ordinary layers that compute the same."""
        wide, narrow = (self.left @ self.core).detach(), self.right.detach().T
        outputs, rank = wide.shape
        with_bias = self.bias is not None
        if self.form is None:
            pair = nn.Sequential(nn.Linear(narrow.shape[1], rank, False), nn.Linear(rank, outputs, with_bias))
        else:
            stride, padding, dilation = self.form
            kind = cast(Any, nn.Conv2d)  # its signature wants tuples of two
            first = kind(self.kernel[0], rank, self.kernel[1:], stride, padding, dilation, bias=False)
            pair = nn.Sequential(first, nn.Conv2d(rank, outputs, 1, bias=with_bias))
        pair.to(wide)
        with torch.no_grad():
            for layer, weight in zip(pair, (narrow, wide), strict=True):
                own = cast(Tensor, layer.weight)
                own.copy_(weight.reshape(own.shape))
            if self.bias is not None:
                cast(Tensor, pair[1].bias).copy_(self.bias)
        return pair


class DlrtStep:
    """Dynamical low-rank training of every `DynamicalLowRank` of a module (algorithm 1 of arXiv:2205.13571).

    With the loss of one batch: K = U S and L = V S^T take a gradient step each; QR of [K, U] and [L, V] gives bases of
    twice the rank; S, in these, takes a gradient step; its singular values are cut so that the norm of the tail is at
    most theta |S|_F. Gradient steps are plain ones of size lr. theta None keeps every rank as it is. others: an
    optimiser of all other parameters, which takes a step with the gradients of the second pass. Two passes per step.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        lr: float,
        theta: float | None = 0.1,
        others: torch.optim.Optimizer | None = None,
    ) -> None:
        if not lr > 0:
            raise NasplatError(f"lr = {lr} cannot train; give a number above 0")
        if theta is not None and not 0 <= theta < 1:
            raise NasplatError(
                f"theta = {theta} is no share of a norm; give a number from 0 up to 1, or None"
            )
        self.layers = [part for part in module.modules() if isinstance(part, DynamicalLowRank)]
        if not self.layers:
            raise NasplatError(
                f"{type(module).__name__} has no low-rank layers; make some with low_rank_network"
            )
        self.module, self.lr, self.theta, self.others = module, lr, theta, others

    def step(self, closure: Callable[[], Tensor]) -> Tensor:
        """One step; closure () gives the loss of a batch, a scalar that can be differentiated. The loss before it."""
        ranks = [layer.rank for layer in self.layers]
        with _winged(self.layers) as wings:
            loss = closure()
            gradients = torch.autograd.grad(loss, [wing for pair in wings for wing in pair])
        with torch.no_grad():
            for layer, pair, slopes in zip(self.layers, wings, _pairs(gradients), strict=True):
                moved = [wing - self.lr * slope for wing, slope in zip(pair, slopes, strict=True)]
                _augment(layer, moved[0], moved[1])
        self.module.zero_grad()
        closure().backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for layer, rank in zip(self.layers, ranks, strict=True):
                layer.core.sub_(self.lr * cast(Tensor, layer.core.grad))
                _truncate(layer, self.theta, rank)
        if self.others is not None:
            self.others.step()
        return loss.detach()


def low_rank_network(module: nn.Module, rank: int, names: Sequence[str] = ("*",)) -> nn.Module:
    """A copy whose linear layers and 2d convolutions without groups are `DynamicalLowRank`, of at most this rank.

    Layers that share their weight stay. names: patterns of names of layers. NasplatError where no layer has one.
    """
    own = copy.deepcopy(module)
    found = {
        name: layer
        for name, layer in own.named_modules()
        if _fits(layer) and not shared(own, name) and any(fnmatchcase(name, pattern) for pattern in names)
    }
    if not found:
        raise NasplatError(
            f"no linear layer or 2d convolution of its own is named {', '.join(names)}; give other patterns"
        )
    for name, layer in found.items():
        weight = cast(Tensor, layer.weight).flatten(1)
        made = DynamicalLowRank(cast(nn.Linear, layer), min(rank, *weight.shape))
        if not name:
            return made
        own.set_submodule(name, made)
    return own


def _fits(layer: nn.Module) -> bool:
    if type(layer) is nn.Conv2d:
        return layer.groups == 1 and layer.padding_mode == "zeros"
    return type(layer) is nn.Linear


def _check(layer: nn.Module, rank: int) -> None:
    if not _fits(layer):
        raise NasplatError(
            f"{layer} cannot be low-rank; give a Linear, or a Conv2d without groups, padded with zeros"
        )
    most = min(cast(Tensor, layer.weight).flatten(1).shape)
    if isinstance(rank, bool) or not isinstance(rank, int) or not 1 <= rank <= most:
        raise NasplatError(f"rank = {rank} does not fit {layer}; give a whole number from 1 to {most}")


def _pairs(flat: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    return list(zip(flat[::2], flat[1::2], strict=True))


@contextmanager
def _winged(layers: Sequence[DynamicalLowRank]) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """K and L of every layer as leaves, through which the layers compute inside the block."""
    wings = [
        ((one.left @ one.core).detach().requires_grad_(), (one.right @ one.core.T).detach().requires_grad_())
        for one in layers
    ]
    for layer, pair in zip(layers, wings, strict=True):
        layer.wings = pair
    try:
        yield wings
    finally:
        for layer in layers:
            layer.wings = None


def _augment(layer: DynamicalLowRank, k: Tensor, l: Tensor) -> None:  # noqa: E741  # the letters of the paper
    """Bases that hold the old columns and the moved ones, and the same weight in them."""
    left, right = (
        torch.linalg.qr(torch.cat([k, layer.left], 1))[0],
        torch.linalg.qr(torch.cat([l, layer.right], 1))[0],
    )
    core = left.T @ layer.left @ layer.core @ layer.right.T @ right
    _set(layer, left, core, right)


def _truncate(layer: DynamicalLowRank, theta: float | None, rank: int) -> None:
    """Cut the core; theta None: back to a rank."""
    first, values, second = torch.linalg.svd(layer.core)
    if theta is not None:
        tails = values.square().flip(0).cumsum(0).flip(0).sqrt()  # the norm of what is cut at rank 0, 1, ...
        rank = max(1, int((tails > theta * tails[0]).sum()))
    _set(layer, layer.left @ first[:, :rank], values[:rank].diag(), layer.right @ second[:rank].T)


def _set(layer: DynamicalLowRank, left: Tensor, core: Tensor, right: Tensor) -> None:
    layer.left, layer.core, layer.right = nn.Parameter(left), nn.Parameter(core), nn.Parameter(right)
