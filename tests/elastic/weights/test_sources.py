"""W(arch) = crop(sum_k c_k(arch) * Theta_k), against algebra done by hand."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nasplat.elastic import (
    Bank,
    Constant,
    Quotient,
    Scaled,
    Size,
    Slot,
    WeightSource,
    combine,
    slice_crop,
    sliced,
)
from nasplat.errors import InvalidArchitecture
from nasplat.space import Arch


def normal(tensors: Mapping[str, Tensor]) -> None:
    for tensor in tensors.values():
        torch.nn.init.normal_(tensor)


OUT, IN, KERNEL = Size(6, "out"), Size(4, "in"), Size(5, "kernel")
CONV = Slot({"weight": (OUT, IN, KERNEL, KERNEL), "bias": (OUT,)}, normal)
SMALL = Arch({"out": 3, "in": 2, "kernel": 3})


def test_a_size_is_a_number_or_the_value_of_a_choice() -> None:
    assert Size(7)(SMALL) == 7
    assert OUT(SMALL) == 3
    assert Scaled(OUT, 2.0)(SMALL) == 6
    assert Scaled(OUT, 2.0, "expand")(Arch({"out": 3, "expand": 0.1})) == 1
    assert Quotient(OUT, Size(3))(SMALL) == 1
    assert Quotient(OUT, Size(3)).maximum == 2


@pytest.mark.parametrize("value", [7, -1, 2.0, True, "3", None])
def test_a_size_refuses_what_is_no_number_up_to_its_maximum(value: object) -> None:
    with pytest.raises(InvalidArchitecture, match=r"out is .*up to 6"):
        OUT(Arch({"out": value}))  # type: ignore[dict-item]


@settings(max_examples=20, deadline=None)
@given(o=st.integers(1, 6), i=st.integers(1, 4), k=st.sampled_from([1, 3, 5]))
def test_one_atom_gives_the_leading_block_and_the_centred_window(o: int, i: int, k: int) -> None:
    source = sliced(CONV)
    weight, bias = source(Arch({"out": o, "in": i, "kernel": k}))
    window = [2 + d for d in range(-(k // 2), k // 2 + 1)]
    expected = torch.stack([source.bank.weight_0[:o, :i, row][..., window] for row in window], dim=2)
    assert torch.equal(weight, expected)
    assert torch.equal(bias, source.bank.bias_0[:o])


def test_the_full_architecture_gets_the_parameter_itself() -> None:
    source = sliced(CONV)
    weight, bias = source(Arch({"out": 6, "in": 4, "kernel": 5}))
    assert weight is source.bank.weight_0
    assert bias is source.bank.bias_0


def test_a_slice_is_a_view_and_its_gradient_lands_in_its_block_only() -> None:
    source = sliced(CONV)
    weight, _ = source(SMALL)
    assert weight.data_ptr() == source.bank.weight_0[0, 0, 1, 1:].data_ptr()
    weight.sum().backward()
    expected = torch.zeros(6, 4, 5, 5)
    expected[:3, :2, 1:4, 1:4] = 1
    assert torch.equal(source.bank.weight_0.grad, expected)
    assert source.bank.bias_0.grad is None


@pytest.mark.parametrize("coefficients", [(1.0,), (0.25, 0.75), (2.0, -1.0, 0.5)])
def test_several_atoms_give_the_cropped_weighted_sum(coefficients: tuple[float, ...]) -> None:
    bank = Bank(CONV, atoms=len(coefficients))
    weight, bias = WeightSource(bank, Constant(coefficients))(SMALL)
    pairs = list(zip(coefficients, bank.atoms("weight"), strict=True))
    torch.testing.assert_close(weight, sum(c * t for c, t in pairs)[:3, :2, 1:4, 1:4])
    pairs = list(zip(coefficients, bank.atoms("bias"), strict=True))
    torch.testing.assert_close(bias, sum(c * t for c, t in pairs)[:3])


def test_a_router_may_mix_each_output_row_by_its_own_differentiable_coefficients() -> None:
    bank, rows = Bank(CONV, atoms=2), torch.rand(2, 6, requires_grad=True)
    weight, _ = WeightSource(bank, lambda arch: list(rows))(SMALL)
    first, second = bank.atoms("weight")
    expected = torch.einsum("ko,koixy->oixy", rows, torch.stack([first, second]))
    torch.testing.assert_close(weight, expected[:3, :2, 1:4, 1:4])
    weight.sum().backward()
    assert rows.grad is not None


def test_an_atom_that_the_router_leaves_out_has_no_gradient() -> None:
    bank = Bank(CONV, atoms=2)
    weight, _ = WeightSource(bank, Constant((0.0, 1.0)))(SMALL)
    weight.sum().backward()
    assert bank.weight_0.grad is None
    assert bank.weight_1.grad is not None
    zeros, _ = WeightSource(bank, Constant((0.0, 0.0)))(SMALL)
    assert not zeros.any()


def test_atoms_are_separate_parameters_with_readable_names() -> None:
    names = {"bank.weight_0", "bank.weight_1", "bank.bias_0", "bank.bias_1"}
    assert set(WeightSource(Bank(CONV, atoms=2)).state_dict()) == names


def test_a_router_with_too_few_coefficients_is_an_error() -> None:
    with pytest.raises(ValueError, match="longer"):
        WeightSource(Bank(CONV, atoms=2), Constant((1.0,)))(SMALL)


def test_another_crop_takes_the_place_of_the_slice() -> None:
    """A mask instead of a slice: the full shape, zero outside the block."""

    def mask(tensor: Tensor, dimensions: tuple[Size, ...], arch: Arch) -> Tensor:
        ones = slice_crop(torch.ones_like(tensor), dimensions, arch)
        return tensor * torch.nn.functional.pad(ones, (0, 0, 0, 0, 0, 2, 0, 3))

    slot = Slot({"weight": (OUT, IN, Size(1), Size(1))}, normal)
    bank = Bank(slot)
    weight, bias = WeightSource(bank, crop=mask)(SMALL)
    assert bias is None
    assert weight.shape == (6, 4, 1, 1)
    assert torch.equal(weight[:3, :2], bank.weight_0[:3, :2])
    assert not weight[3:].any()
    assert not weight[:, 2:].any()


def test_atoms_in_half_precision_are_averaged_in_single_and_one_alone_is_no_copy() -> None:
    atoms = [torch.randn(8, 8).bfloat16() for _ in range(3)]
    mean = combine((1 / 3,) * 3, atoms)
    assert mean.equal(sum(1 / 3 * atom.float() for atom in atoms).bfloat16())
    assert combine((0.0, 1.0, 0.0), atoms) is atoms[1]
