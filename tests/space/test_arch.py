from __future__ import annotations

import copy
import hashlib
import json

import numpy as np
import pytest

from nasplat.errors import InvalidArchitecture
from nasplat.space import Arch


def test_equality_looks_at_types_and_not_at_the_order() -> None:
    assert (
        len({Arch({"x": 1}), Arch({"x": 1.0}), Arch({"x": True}), Arch({"x": "1"}), Arch({"x": None})}) == 5
    )
    assert Arch({"x": 1, "y": 2}) == Arch({"y": 2, "x": 1})
    assert Arch({"x": 1}) != {"x": 1}


def test_the_key_is_the_start_of_the_hash_of_sorted_json() -> None:
    arch = Arch({"width": 8, "act": "relu"})
    assert arch.key == hashlib.sha256(b'{"act":"relu","width":8}').hexdigest()[:16]
    assert Arch({"act": "relu", "width": 8}).key == arch.key


def test_json_and_copies_give_the_same_architecture_again() -> None:
    arch = Arch({"a": None, "b": True, "c": 1, "d": 0.1, "e": "ü"})
    assert Arch(json.loads(json.dumps(arch.to_json()))) == arch
    assert copy.deepcopy(arch) == arch
    assert repr(arch) == "Arch(a=None, b=True, c=1, d=0.1, e='ü')"


def test_an_architecture_does_not_change() -> None:
    values = {"x": 1}
    arch = Arch(values)
    values["x"] = 2
    arch.to_json()["x"] = 3
    assert dict(arch) == {"x": 1}
    with pytest.raises(AttributeError, match="never changes"):
        arch.key = "other"
    with pytest.raises(AttributeError, match="never changes"):
        del arch.key
    with pytest.raises(TypeError):
        arch["x"] = 2  # type: ignore[index]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), (1, 2), np.int64(3), np.float64(0.5), [1]])
def test_a_value_that_is_not_plain_is_refused_by_name(value: object) -> None:
    with pytest.raises(InvalidArchitecture, match=r"^depth is .*: use "):
        Arch({"depth": value})  # type: ignore[dict-item]


@pytest.mark.parametrize("name", ["", 3, None])
def test_a_name_that_is_not_a_text_is_refused(name: object) -> None:
    with pytest.raises(InvalidArchitecture, match="not the name of a choice"):
        Arch({name: 1})  # type: ignore[dict-item]
