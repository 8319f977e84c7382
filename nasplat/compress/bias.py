"""What rounding of weights adds to the mean of outputs, taken off again in the bias."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from nasplat.channels import channel_spec
from nasplat.compress.moments import Moments, moments_of
from nasplat.compress.norms import set_weight
from nasplat.compress.tracing import (
    CONVOLUTIONS,
    TRANSPOSED,
    Rewritten,
    checked_batches,
    input_of,
    named_calls,
    traced,
)
from nasplat.errors import NasplatError

ROUNDED = (*CONVOLUTIONS, nn.Linear)


@dataclass(frozen=True, slots=True)
class Rounding:
    """Whole numbers of some bits, symmetric about 0, with one step for each output channel or one for the tensor.

    These are the steps of torch's observers for int8 weights: the largest absolute weight over (2^bits - 1) / 2.
    """

    bits: int = 8
    per_channel: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.bits, int) or not 2 <= self.bits <= 16:
            raise NasplatError(f"bits = {self.bits} cannot round weights; give a whole number from 2 to 16")

    def __call__(self, weight: Tensor) -> Tensor:
        """A weight (o, ...) on the grid."""
        largest = weight.detach().abs()
        largest = largest.flatten(1).amax(1) if self.per_channel else largest.amax()
        step = (largest / ((2**self.bits - 1) / 2)).clamp_min(torch.finfo(weight.dtype).eps)
        step = step.reshape(-1, *[1] * (weight.ndim - 1)) if self.per_channel else step
        lowest = -(2 ** (self.bits - 1))
        whole = (weight.detach() * (1 / step)).round()  # torch's kernels multiply, too: ties fall as theirs
        rounded: Tensor = whole.clamp(lowest, -lowest - 1) * step
        return rounded


INT8 = Rounding()


def round_weights(
    module: nn.Module, example: Tensor | Sequence[Tensor], rounding: Rounding = INT8
) -> Rewritten:
    """A copy whose convolutions and linear layers have rounded weights, in float: what int8 does to weights alone.

    left: transposed convolutions.
    """
    view = traced(module, example)
    layers = {name: view.layer(calls[0]) for name, calls in view.calls.items()}
    rounded = {name: layer for name, layer in layers.items() if type(layer) in ROUNDED}
    tensors = {id(layer.weight): layer for layer in rounded.values() if layer is not None}  # shared ones once
    for layer in tensors.values():
        set_weight(layer, rounding(cast(Tensor, layer.weight)), None)
    left = {name: "it is transposed" for name, layer in layers.items() if isinstance(layer, TRANSPOSED)}
    return Rewritten(view.module, tuple(rounded), left)


def input_means(
    module: nn.Module, example: Tensor | Sequence[Tensor], *, batches: Iterable[Tensor] | None = None
) -> dict[str, Tensor]:
    """The mean of what every convolution and linear layer reads, one number (float64) for each of its inputs.

    Without data from batch norms (section 4.2.1 of arXiv:1906.04721, through activations as `moments_of` says); layers
    whose inputs do not come from batch norms by known operations are missing. With batches of inputs: measured.
    """
    if batches is not None:
        return _measured(module, example, batches)
    view = traced(module, example)
    spec = channel_spec(view.module, example)
    moments = moments_of(view, spec)
    columns = {slot.parameter: slot.channels for slot in spec.slots if slot.axis == 1}
    found = {}
    for name, layer, node in named_calls(view, ROUNDED):
        known, slot = moments.get(input_of(node)), columns.get(f"{name}.weight")
        if known is not None and len(known.mean) == _inputs(layer):
            found[name] = known.mean
        elif known is not None and slot is not None and len(slot) == 1:
            found[name] = _looked_up(known, torch.from_numpy(slot[0]))
    return found


def correct_bias(
    module: nn.Module,
    example: Tensor | Sequence[Tensor],
    means: Mapping[str, Tensor],
    rounding: Rounding = INT8,
) -> Rewritten:
    """A copy whose biases take off what rounding its weights will add on average: b - (rounded(w) - w) E[x].

    Equation 17 of arXiv:1906.04721; E[x] from `input_means`, of this module with its norms or by batches, and divided
    by the factors where `equalise` came between. Weights stay: round or quantise the result by the same `rounding`.
    left: layers of which the mean is not known, or not of as many inputs as they have.
    """
    view = traced(module, example)
    changed, left = [], {}
    for name, layer, _ in named_calls(view, ROUNDED):
        mean = means.get(name)
        why = view.entangled(name)
        if mean is None or len(mean) != _inputs(layer):
            why = f"the mean of its {_inputs(layer)} inputs is not known"
        if why:
            left[name] = why
            continue
        weight = cast(Tensor, layer.weight).detach()
        error = (rounding(weight) - weight).double().reshape(*weight.shape[:2], -1).sum(2)  # (o, i / g)
        groups = int(cast(int, getattr(layer, "groups", 1)))
        by_group = error.reshape(groups, -1, error.shape[1])
        shift = torch.einsum(
            "goi,gi->go", by_group, cast(Tensor, mean).to(error).reshape(groups, -1)
        ).flatten()
        before = layer.bias.detach().double() if isinstance(layer.bias, Tensor) else 0.0
        set_weight(layer, weight, before - shift)
        changed.append(name)
    return Rewritten(view.module, tuple(changed), left)


def _inputs(layer: nn.Module) -> int:
    return int(cast(int, layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels))


def _looked_up(moments: Moments, numbers: Tensor) -> Tensor:
    """The means of channel numbers, as the columns of a layer behind a flattened map have them."""
    table = torch.zeros(1 + int(torch.cat([moments.numbers, numbers]).max()), dtype=torch.float64)
    table[moments.numbers] = moments.mean
    return table[numbers]


def _measured(
    module: nn.Module, example: Tensor | Sequence[Tensor], batches: Iterable[Tensor]
) -> dict[str, Tensor]:
    view = traced(module, example)
    given = checked_batches(view.module, batches)
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}

    def note(name: str, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        axis = -1 if isinstance(layer, nn.Linear) else 1
        rows = inputs[0].double().movedim(axis, 0).flatten(1)
        sums[name] = sums.get(name, torch.zeros(())) + rows.sum(1).cpu()
        counts[name] = counts.get(name, 0) + rows.shape[1]

    with ExitStack() as hooks, torch.no_grad():
        for name, layer, _ in named_calls(view, ROUNDED):
            hooks.enter_context(layer.register_forward_pre_hook(partial(note, name)))
        for batch in given:
            view.module(batch)
    return {name: total / counts[name] for name, total in sums.items()}
