"""Encoders: hidden states of a parameter graph."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from nasplat.errors import DataError
from nasplat.metanet.encoders import kernel_places


def with_kernel(*kernel: int) -> Any:
    """A block, as far as its kernel goes."""
    return SimpleNamespace(parameter="conv.weight", kernel=kernel)


@pytest.mark.parametrize("kernel", [(), (1,), (3,), (1, 1), (3, 3), (1, 5), (5, 3)])
def test_odd_kernels_are_centred_on_the_grid(kernel: tuple[int, ...]) -> None:
    h, w = (1, 1, *kernel)[-2:]
    values = torch.arange(1, h * w + 1).reshape(h, w)
    padded = torch.nn.functional.pad(values, [(5 - w) // 2] * 2 + [(5 - h) // 2] * 2)
    filled = np.zeros(25, dtype=np.int64)
    filled[kernel_places(with_kernel(*kernel), 5)] = values.flatten()
    assert filled.tolist() == padded.flatten().tolist()


@pytest.mark.parametrize("kernel", [(2, 2), (4, 4)])
def test_even_kernels_fit_the_next_odd_grid(kernel: tuple[int, ...]) -> None:
    places = kernel_places(with_kernel(*kernel), kernel[0] + 1)
    assert len(set(places)) == kernel[0] ** 2
    assert max(places) < (kernel[0] + 1) ** 2


def test_a_kernel_larger_than_the_grid_is_told_which_grid_to_give() -> None:
    with pytest.raises(DataError, match=r"'conv.weight' has kernels of 7x7.*grid=7"):
        kernel_places(with_kernel(7, 7), 3)
