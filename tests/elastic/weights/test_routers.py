"""Keys and the sources that they pick."""

from __future__ import annotations

import pytest
import torch

from nasplat.elastic import ElasticLinear, Key, Size, keyed
from nasplat.errors import InvalidArchitecture
from nasplat.space import Arch, categorical

KINDS = Key.of(categorical("kind", ("conv", "pool", "skip")))


def test_the_key_of_a_choice_is_the_position_of_its_value() -> None:
    assert len(KINDS) == 3
    assert KINDS.choices == ("kind",)
    assert [KINDS(Arch({"kind": kind})) for kind in ("conv", "pool", "skip")] == [0, 1, 2]
    with pytest.raises(InvalidArchitecture, match=r"kind is 'sum': choose one of"):
        KINDS(Arch({"kind": "sum"}))


@pytest.mark.parametrize("outside", [3, -1, 1.0, True, None])
def test_a_key_outside_its_range_is_refused_in_one_line(outside: object) -> None:
    key = Key(("a", "b"), 3, lambda arch: outside)  # type: ignore[arg-type, return-value]
    with pytest.raises(InvalidArchitecture, match=r"^the key of a, b is .*: expected 0 to 2$"):
        key(Arch({"a": 1, "b": 2}))


def test_every_value_of_a_key_has_weights_of_its_own_which_are_sliced() -> None:
    layer, x = ElasticLinear(4, Size(3, "width"), source=keyed(KINDS)), torch.randn(2, 4)
    bank = layer.source.bank
    assert len(bank) == 3
    layer(x, Arch({"kind": "pool", "width": 2})).sum().backward()
    assert [p.grad is not None for p in bank.atoms("weight")] == [False, True, False]
    expected = torch.nn.functional.linear(x, bank.weight_2[:2], bank.bias_2[:2])
    torch.testing.assert_close(layer(x, Arch({"kind": "skip", "width": 2})), expected)
