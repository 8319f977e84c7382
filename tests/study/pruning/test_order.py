"""Orders that make no sense, each told in one line before anything is loaded."""

from __future__ import annotations

from typing import Any

import pytest

from nasplat.errors import InvalidStudy
from nasplat.study.pruning import Finetuning, PruneOrder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": {}}, "none; expected exactly one of speedup"),
        ({"target": {"speedup": 2.0, "max_macs": 1e6}}, "speedup, max_macs; expected exactly one"),
        ({"score": "taylr"}, "did you mean .taylor"),
        ({"score": "l1", "metanet": "one"}, "both score channels"),
        ({"finetuning": Finetuning(before=3)}, "give --metanet"),
        ({"shape": (1, 6, 6)}, "leave out --shape"),
        ({"data": None}, "--shape such as"),
        ({"data": None, "shape": (1, 6, 6), "finetuning": Finetuning(3)}, "--finetune 0"),
        (
            {"data": None, "shape": (1, 6, 6), "metanet": "one", "finetuning": Finetuning(before=0)},
            "needs data",
        ),
    ],
)
def test_an_order_that_makes_no_sense_is_one_line(changes: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"model": "net.py:NET", "target": {"speedup": 2.0}, "data": "digits"}
    with pytest.raises(InvalidStudy, match=message) as told:
        PruneOrder(**(given | changes))
    assert "\n" not in str(told.value)
