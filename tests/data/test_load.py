"""Data by name or by a user's function: what is wrong is said in one line."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nasplat.data import Dataset, Split, Task, load_data
from nasplat.data.given import dataset_of
from nasplat.errors import DataError


def pair(n: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.arange(n * 3.0).reshape(n, 3), torch.arange(n) % 3


GOOD = {"train": pair(6), "validation": pair(3), "test": pair(3)}


@pytest.mark.parametrize(
    "given",
    [
        GOOD,
        tuple(GOOD.values()),
        {k: Split(*v) for k, v in GOOD.items()},
        {k: (v[0].double().numpy(), v[1].int().numpy()) for k, v in GOOD.items()},
    ],
)
def test_every_offered_form_becomes_the_same_data_set(given: Any) -> None:
    data = dataset_of(given, "mine:make", {})
    assert data.hash == Dataset("x", *(Split(*v) for v in GOOD.values())).hash
    assert (data.classes, data.input_shape) == (3, (3,))
    assert data.origin["sizes"] == {"train": 6, "validation": 3, "test": 3}


def test_another_task_comes_as_a_data_set_with_its_own_task() -> None:
    task = Task(
        "error", "minimize", "1", torch.nn.functional.mse_loss, lambda o, t: float((o - t).abs().mean())
    )
    splits = [Split(torch.rand(4, 2), torch.rand(4, 1)) for _ in range(3)]
    assert dataset_of(Dataset("r", *splits, task=task), "mine:make", {}).task is task


def with_train(inputs: Any, targets: Any) -> dict[str, Any]:
    return {**GOOD, "train": (inputs, targets)}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "gave NoneType, expected a Dataset or splits"),
        ({"train": pair(), "test": pair()}, r"gave dict of \['train', 'test'\]"),
        ({**GOOD, "test": pair()[0]}, "test split of 'mine:make' is Tensor, expected a pair"),
        (with_train(torch.zeros(4, 3), torch.zeros(3, dtype=torch.int64)), "has 4 inputs and 3 targets"),
        (with_train(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)), "has 0 inputs"),
        (with_train(torch.zeros(4, 5), torch.zeros(4, dtype=torch.int64)), "inputs of different shapes"),
        (with_train(torch.full((4, 3), torch.nan), torch.arange(4)), "inputs of the train split.*NaN"),
        (with_train(np.zeros((4, 3), np.uint8), np.arange(4)), "torch.uint8, expected float32 or int64"),
        (with_train("text", np.arange(4)), "str, expected a tensor or an array"),
        (with_train(torch.zeros(4, 3), torch.rand(4)), "float targets"),
        (with_train(torch.zeros(4, 3), torch.arange(4) - 1), "negative class numbers"),
    ],
)
def test_data_of_the_wrong_form_is_refused_in_one_line(given: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        dataset_of(given, "mine:make", {})
    assert "\n" not in str(caught.value)


def test_an_unknown_name_or_argument_gets_a_guess() -> None:
    with pytest.raises(DataError, match="unknown data set 'digit'; did you mean 'digits'"):
        load_data("digit")
    with pytest.raises(DataError, match="no argument 'canvass'; did you mean 'canvas'"):
        load_data("translated_digits", canvass=20)


def test_a_users_function_is_called_with_the_arguments_of_the_study(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("my_data")
    module.make = lambda n: (pair(n), pair(3), pair(3))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_data", module)
    assert len(load_data("my_data:make", n=7).train) == 7
    with pytest.raises(DataError, match="'my_data:make' failed: TypeError"):
        load_data("my_data:make", n="seven")


def test_a_function_in_a_file_is_found_beside_the_study(tmp_path: Path) -> None:
    lines = [
        "import torch",
        "def make():",
        "    part = (torch.zeros(2, 3), torch.arange(2))",
        "    return [part] * 3",
    ]
    (tmp_path / "mine.py").write_text("\n".join(lines))
    assert load_data("mine.py:make", base=tmp_path).classes == 2
