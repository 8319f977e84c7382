"""How importances (n,) of the channels of one space are made comparable with those of other spaces."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def _ratio(values: Tensor, unit: Tensor) -> Tensor:
    """Zeros where the unit is zero, as all values then are."""
    return values / unit if unit > 0 else torch.zeros_like(values)


def _lamp(values: Tensor) -> Tensor:
    """Each over the sum of those not smaller, arXiv:2010.07611 eq. 1 with channels for weights; equals stay equal."""
    order = values.sort()
    rest = order.values.flip(0).cumsum(0).flip(0)  # of this and all behind it
    first = torch.searchsorted(order.values, values)
    total = rest[first]
    return torch.where(total > 0, values / total, 0.0)


def _gaussian(values: Tensor) -> Tensor:
    centred = values - values.mean()
    return _ratio(centred, values.std() if len(values) > 1 else values.new_zeros(()))


NORMALISERS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda values: values,
    "mean": lambda values: _ratio(values, values.abs().mean()),
    "max": lambda values: _ratio(values, values.abs().max()),
    "sum": lambda values: _ratio(values, values.abs().sum()),
    "standardise": lambda values: _ratio(values - values.min(), values.max() - values.min()),
    "gaussian": _gaussian,
    "lamp": _lamp,
}
"""Units are taken of absolute values, so that negative importances keep their order; "lamp" wants none below zero."""
