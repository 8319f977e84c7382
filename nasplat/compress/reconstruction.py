"""Removed channels rebuilt from the kept ones, inside the weights of the layers that read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nasplat.channels import ChannelSpec, channel_spec
from nasplat.compress.columns import Reader, Removal, norm_behind, readers
from nasplat.compress.moments import Moments, moments_of
from nasplat.compress.regression import refit
from nasplat.compress.tracing import Rewritten, input_of, traced
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
    numbers of `channel_spec(module, example)` stay. example (n, ...). changed: the layers refitted; left: layers that
    read removed channels and were not, with the reason. NasplatError as `traced`, for a `kept` that does not fit, and
    for a layer left with no input.
    """
    view = traced(module, example)
    spec = channel_spec(view.module, example)
    stays = _checked(spec, kept)
    found, others = readers(view, spec)
    removal = Removal(view, tuple(one for one in found if not bool(stays[one.numbers].all())), stays)
    for reader in removal.losing:
        if not bool(stays[reader.numbers].any()):
            raise NasplatError(f"kept leaves {reader.name} no channel to read; keep at least one of them")
    left = {name: why for name, why in others.items() if _loses(spec, name, stays)}
    with torch.no_grad():
        if batches is None:
            left |= _rebuild(removal, spec, settings)
        else:
            left |= refit(removal, module, batches, settings.ridge)
    changed = tuple(reader.name for reader in removal.losing if reader.name not in left)
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


def _rebuild(removal: Removal, spec: ChannelSpec, settings: Reconstruction) -> dict[str, str]:
    """Without data: all moments are those of the network as it came. Which layers have none, and why."""
    moments = moments_of(removal.view, spec, elementwise=settings.activations)
    left = {}
    for reader in removal.losing:
        known = moments.get(input_of(reader.node))
        held = None if known is None else _ordered(known, reader.numbers)
        if held is None:
            left[reader.name] = "what it reads does not come from batch norms by known operations"
            reader.write(reader.by_channel(reader.layer.weight), removal.stays)
            continue
        _fold(removal, reader, held, settings)
    return left


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


def _fold(removal: Removal, reader: Reader, held: Moments, settings: Reconstruction) -> None:
    own = removal.stays[reader.numbers]
    before = reader.by_channel(reader.layer.weight.detach().double().cpu())
    after = before.clone()
    after[:, own] += torch.einsum("opr,pk->okr", before[:, ~own], _coefficients(held, own, settings.ridge))
    after[:, ~own] = 0
    reader.write(after, removal.stays)
    norm = norm_behind(removal.view, reader.node)
    if settings.variance and norm is not None:
        variance = cast(Tensor, norm.running_var)
        share = _variance(after, held) / _variance(before, held).clamp_min(1e-12)
        variance.copy_(((variance + norm.eps) * share.to(variance) - norm.eps).clamp_min(0))


def _variance(weight: Tensor, moments: Moments) -> Tensor:
    """Variance (o,) of what a weight (o, c, places) gives, places being independent."""
    return torch.einsum("oir,ij,ojr->o", weight, moments.covariance, weight)
