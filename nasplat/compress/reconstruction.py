"""Removed channels rebuilt from the kept ones, inside the weights of the layers that read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nasplat.channels import ChannelSpec
from nasplat.compress.columns import Reader, norm_behind, readers
from nasplat.compress.moments import Moments, moments_of
from nasplat.compress.regression import refit
from nasplat.compress.tracing import Rewritten, View, input_of, traced
from nasplat.errors import NasplatError


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """How channels are rebuilt.

    ridge: penalty on coefficients, as a share of the mean square of the kept channels. activations: fit what the
    layer reads, behind its activation; False fits the filters themselves, as the paper does. variance: a batch norm
    behind the layer expects the variance that is left of what it was told, so that it does not shrink from layer to
    layer (in the spirit of arXiv:2211.08403). Only the first matters with batches.
    """

    ridge: float = 1e-2
    activations: bool = True
    variance: bool = True


STANDARD = Reconstruction()


def reconstruct(
    module: nn.Module,
    example: Tensor | Sequence[Tensor],
    spec: ChannelSpec,
    kept: NDArray[np.bool_],
    *,
    batches: Iterable[Tensor] | None = None,
    settings: Reconstruction = STANDARD,
) -> Rewritten:
    """A copy that no longer reads the channels to be removed: what they told is rebuilt from those that stay.

    Without data, in the spirit of arXiv:2308.07209: with coefficients s minimising the expected square of
    x_p - sum_k s_pk x_k plus a ridge, in closed form S = M_pk (M_kk + ridge)^-1, every weight that reads a kept channel
    gains sum_p s_pk w_p. The second moments M come from the filters and the batch norms, see `moments_of`.
    With batches of inputs: least squares on activations, layer after layer, each against what it gave in the full
    network, in the spirit of equation 3 of arXiv:1707.06168.
    All shapes stay, and columns of removed channels are zero: cut them as planned. kept (channels,): which channel
    numbers of spec stay. example (n, ...). changed: the layers refitted; left: layers that read removed channels and
    were not, with the reason. NasplatError as `traced`, for a `kept` that does not fit, and for a layer left with no
    input.
    """
    stays = _checked(spec, kept)
    view = traced(module, example)
    found, left = readers(view, spec)
    losing = [reader for reader in found if not bool(stays[reader.numbers].all())]
    for reader in losing:
        if not bool(stays[reader.numbers].any()):
            raise NasplatError(f"kept leaves {reader.name} no channel to read; keep at least one of them")
    left = {name: why for name, why in left.items() if _loses(spec, name, stays)}
    with torch.no_grad():
        if batches is not None:
            left |= refit(view, module, losing, stays, batches, settings.ridge)
        else:
            _rebuild(view, spec, losing, stays, settings, left)
    changed = tuple(reader.name for reader in losing if reader.name not in left)
    return Rewritten(view.module, changed, left)


def _checked(spec: ChannelSpec, kept: NDArray[np.bool_]) -> Tensor:
    channels = max((space.stop for space in spec.spaces), default=0)
    if not isinstance(kept, np.ndarray) or kept.dtype != bool or kept.shape != (channels,):
        came = f"{kept.dtype} {kept.shape}" if isinstance(kept, np.ndarray) else type(kept).__name__
        raise NasplatError(
            f"kept is {came}; give a numpy array of {channels} bools, one for each channel of the spec"
        )
    return torch.from_numpy(kept.copy())


def _loses(spec: ChannelSpec, name: str, stays: Tensor) -> bool:
    numbers = [slot.channels for slot in spec.slots if (slot.parameter, slot.axis) == (f"{name}.weight", 1)]
    return any(not bool(stays[torch.from_numpy(one)].all()) for one in numbers)


def _rebuild(
    view: View,
    spec: ChannelSpec,
    losing: list[Reader],
    stays: Tensor,
    settings: Reconstruction,
    left: dict[str, str],
) -> None:
    """Without data: all moments are those of the network as it came."""
    moments = moments_of(view, spec, elementwise=settings.activations)
    for reader in losing:
        known = moments.get(input_of(reader.node))
        held = None if known is None else _ordered(known, reader.numbers)
        if held is None:
            left[reader.name] = "what it reads does not come from batch norms by known operations"
            _write(reader, reader.by_channel(reader.layer.weight), stays)
            continue
        _fold(view, reader, stays, held, settings)


def _ordered(moments: Moments, numbers: Tensor) -> Moments | None:
    """The moments of some channels, in their order; None where they are not all known."""
    if len(moments.numbers) != len(numbers):
        return None
    order = moments.numbers.argsort(stable=True)
    if not torch.equal(moments.numbers[order], numbers):
        return None
    return Moments(moments.mean[order], moments.covariance[order][:, order], numbers)


def _coefficients(moments: Moments, stays: Tensor, ridge: float) -> Tensor:
    """S (removed, kept): the best linear guess of removed channels from the kept ones."""
    second = moments.covariance + moments.mean * moments.mean[:, None]
    inside = second[stays][:, stays]
    penalty = ridge * inside.diagonal().mean().clamp_min(1e-12)
    inside = inside + penalty * torch.eye(len(inside), dtype=inside.dtype)
    found: Tensor = torch.linalg.solve(inside, second[stays][:, ~stays])
    return found.T


def _fold(view: View, reader: Reader, stays: Tensor, held: Moments, settings: Reconstruction) -> None:
    own = stays[reader.numbers]
    before = reader.by_channel(reader.layer.weight.detach().double().cpu())
    after = before.clone()
    after[:, own] += torch.einsum("opr,pk->okr", before[:, ~own], _coefficients(held, own, settings.ridge))
    after[:, ~own] = 0
    _write(reader, after, stays)
    norm = norm_behind(view, reader.node)
    if settings.variance and norm is not None:
        variance = cast(Tensor, norm.running_var)
        share = _variance(after, held) / _variance(before, held).clamp_min(1e-12)
        variance.copy_(((variance + norm.eps) * share.to(variance) - norm.eps).clamp_min(0))


def _variance(weight: Tensor, moments: Moments) -> Tensor:
    """Variance (o,) of what a weight (o, c, places) gives, places being independent."""
    return torch.einsum("oir,ij,ojr->o", weight, moments.covariance, weight)


def _write(reader: Reader, by_channel: Tensor, stays: Tensor) -> None:
    """Write a weight (o, c, places), the columns of removed channels zero."""
    by_channel = by_channel.clone()
    by_channel[:, ~stays[reader.numbers]] = 0
    reader.layer.weight.copy_(reader.as_weight(by_channel).to(reader.layer.weight))
