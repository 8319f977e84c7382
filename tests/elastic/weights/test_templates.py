"""Templates from one flat bank, against indices taken by hand."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nasplat.elastic import Bank, Size, Slot, WeightSource, sliced
from nasplat.elastic.weights.templates import Borrowed, FlatBank, full_shapes, numel, share_templates, spans
from nasplat.space import Arch


def normal(tensors: Mapping[str, Tensor]) -> None:
    for tensor in tensors.values():
        nn.init.normal_(tensor)


SLOTS = [
    Slot({"weight": (Size(4, "a"), Size(3)), "bias": (Size(4, "a"),)}, normal),
    Slot({"weight": (Size(2), Size(4, "a"))}, normal),
    Slot({"weight": (Size(5), Size(2)), "bias": (Size(5),)}, normal),
]
SIZES = [16, 8, 15]
FULL, SMALL = Arch({"a": 4}), Arch({"a": 2})


def sources() -> list[WeightSource]:
    torch.manual_seed(0)
    return [sliced(slot) for slot in SLOTS]


def numbers(bank: FlatBank) -> list[float]:
    """Those of the whole bank, in their order."""
    return [number for part in bank.parameters() for number in part.flatten().tolist()]


@settings(max_examples=50, deadline=None)
@given(size=st.integers(1, 12), start=st.integers(0, 30), length=st.integers(1, 40))
def test_a_window_goes_round_the_bank_as_often_as_it_must(size: int, start: int, length: int) -> None:
    bank = FlatBank(torch.arange(size).float(), [start, start + length])
    assert bank.window(start, length).tolist() == [(start + n) % size for n in range(length)]


def test_the_numbers_of_a_slot_are_counted() -> None:
    assert [numel(slot) for slot in SLOTS] == SIZES
    assert spans(SLOTS[0]) == {"weight": (0, 12), "bias": (12, 16)}


def test_one_template_of_a_bank_of_full_size_starts_as_the_layers_themselves() -> None:
    before = sources()
    bank, after = share_templates(before, share=1.0, most=1)
    assert len(numbers(bank)) == sum(SIZES)
    for old, new in zip(before, after, strict=True):
        for arch in (FULL, SMALL):
            assert all(new.tensors(arch)[name].equal(t) for name, t in old.tensors(arch).items())


@pytest.mark.parametrize(("share", "most"), [(0.1, 3), (0.5, 1), (0.5, 4), (1.0, 2), (2.0, 2), (2.5, 3)])
def test_a_layer_is_the_sum_of_windows_that_follow_each_other(share: float, most: int) -> None:
    bank, shared = share_templates(sources(), share, most)
    row, size, start = numbers(bank), round(share * 39), 0
    assert len(row) == size
    for source, slot, length in zip(shared, SLOTS, SIZES, strict=True):
        count = min(most, max(1, size // length))
        c = source.router.coefficients
        assert c.shape == (count,)
        rows = [[row[(start + k * length + n) % size] for n in range(length)] for k in range(count)]
        flat = torch.einsum("k,kn->n", c, torch.tensor(rows))
        weight = flat[: spans(slot)["weight"][1]].view(source.tensors(FULL)["weight"].shape)
        torch.testing.assert_close(source.tensors(FULL)["weight"], weight)
        if "bias" in slot.tensors:
            torch.testing.assert_close(source.tensors(FULL)["bias"], flat[spans(slot)["weight"][1] :])
        start += count * length


@pytest.mark.parametrize("rows", [4, 400])  # of the first layer, which alone may be most of the network
@pytest.mark.parametrize(("share", "most"), [(0.6, 2), (1.5, 2), (2.0, 2), (2.5, 3)])
def test_every_number_of_the_bank_is_in_use_and_every_coefficient_learns(
    rows: int, share: float, most: int
) -> None:
    first = sliced(Slot({"weight": (Size(rows), Size(3)), "bias": (Size(rows),)}, normal))
    bank, shared = share_templates([first, *sources()[1:]], share, most)
    sum(tensor.square().sum() for source in shared for tensor in source.tensors(FULL).values()).backward()
    assert all(part.grad.abs().min() > 0 for part in bank.parameters())
    assert all(source.router.coefficients.grad.abs().min() > 0 for source in shared)


def test_a_layer_that_starts_at_zero_does_so_with_a_template_of_its_own() -> None:
    before = sources()
    for atom in before[0].bank.parameters():
        nn.init.zeros_(atom)
    _, after = share_templates(before, share=1.0, most=1)
    assert all(tensor.equal(torch.zeros_like(tensor)) for tensor in after[0].tensors(FULL).values())
    assert after[0].router.coefficients.tolist() == [1.0]


@pytest.mark.parametrize("share", [0.05, 0.4, 1.7])
def test_weights_start_with_the_norm_that_the_layers_had(share: float) -> None:
    before = sources()
    _, after = share_templates(before, share, most=2)
    for old, new in zip(before, after, strict=True):
        torch.testing.assert_close(new(FULL)[0].norm(), old(FULL)[0].norm())


def test_layers_of_equal_shape_may_borrow_one_bank_each_with_its_own_sizes() -> None:
    slots = [Slot({"weight": (Size(4, name), Size(3))}, normal) for name in ("a", "b")]
    assert full_shapes(slots[0]) == full_shapes(slots[1]) == (("weight", (4, 3)),)
    bank = Bank(slots[0])
    first, second = (WeightSource(Borrowed(slot, bank)) for slot in slots)
    arch = Arch({"a": 2, "b": 3})
    assert first(arch)[0].equal(bank.weight_0[:2])
    assert second(arch)[0].equal(bank.weight_0[:3])
    (first(arch)[0].sum() + second(arch)[0].sum()).backward()
    assert bank.weight_0.grad[:, 0].tolist() == [2.0, 2.0, 1.0, 0.0]
    assert list(first.state_dict()) == []  # the bank is the network's, not the layer's
