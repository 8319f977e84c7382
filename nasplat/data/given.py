"""Data that a user's function gives: checked before it is trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from nasplat.data.dataset import Dataset, Split
from nasplat.errors import DataError

NAMES = ("train", "validation", "test")


def dataset_of(given: Any, name: str, arguments: Mapping[str, Any]) -> Dataset:
    """A checked Dataset from one, or from three splits given as a mapping or a triple.

    Splits alone pose a classification: integer targets from 0. Another task comes as a Dataset with its own.
    """
    if isinstance(given, Dataset):
        splits = _splits({key: getattr(given, key) for key in NAMES}, name)
        origin = given.origin or _origin(name, arguments, splits)
        return replace(given, **cast("dict[str, Any]", splits), origin=origin)
    splits = _splits(given, name)
    origin, classes = _origin(name, arguments, splits), _classes(splits, name)
    train, validation, test = (splits[key] for key in NAMES)
    return Dataset(name, train, validation, test, classes=classes, origin=origin)


def _origin(name: str, arguments: Mapping[str, Any], splits: Mapping[str, Split]) -> dict[str, Any]:
    sizes = {key: len(split) for key, split in splits.items()}
    return {"name": name, "arguments": dict(arguments), "sizes": sizes}


def _splits(given: Any, name: str) -> dict[str, Split]:
    if isinstance(given, tuple | list) and len(given) == len(NAMES):
        given = dict(zip(NAMES, given, strict=True))
    if not isinstance(given, Mapping) or set(given) != set(NAMES):
        raise DataError(
            f"data set {name!r} gave {_form(given)}, expected a Dataset or splits {', '.join(NAMES)}"
        )
    splits = {key: _split(given[key], f"{key} split of {name!r}") for key in NAMES}
    shapes = {key: tuple(split.inputs.shape[1:]) for key, split in splits.items()}
    if len(set(shapes.values())) > 1:
        raise DataError(f"data set {name!r} has inputs of different shapes: {shapes}; expected one shape")
    return splits


def _form(given: Any) -> str:
    kind = type(given).__name__
    return f"{kind} of {list(given)}" if isinstance(given, Mapping) else kind


def _split(given: Any, where: str) -> Split:
    pair = (given.inputs, given.targets) if isinstance(given, Split) else given
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise DataError(f"{where} is {type(given).__name__}, expected a pair (inputs, targets)")
    inputs = _tensor(pair[0], f"inputs of the {where}")
    targets = _tensor(pair[1], f"targets of the {where}")
    if len(inputs) != len(targets) or not len(inputs):
        raise DataError(
            f"{where} has {len(inputs)} inputs and {len(targets)} targets, expected equally many, not 0"
        )
    return Split(inputs, targets)


def _tensor(given: Any, where: str) -> Tensor:
    try:
        tensor = torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{where} are {type(given).__name__}, expected a tensor or an array") from error
    if tensor.ndim == 0:
        raise DataError(f"{where} are one number, expected one for each example")
    if tensor.is_floating_point():
        if not bool(tensor.isfinite().all()):
            raise DataError(f"{where} hold NaN or infinity, expected finite numbers")
        return tensor.float()
    if tensor.dtype in (torch.int64, torch.int32):
        return tensor.long()
    raise DataError(
        f"{where} are {tensor.dtype}, expected float32 or int64; convert them (bytes of pixels: / 255)"
    )


def _classes(splits: Mapping[str, Split], name: str) -> int:
    targets = [split.targets for split in splits.values()]
    if any(t.is_floating_point() for t in targets):
        raise DataError(
            f"data set {name!r} has float targets, expected class numbers; return a Dataset with its Task"
        )
    if min(int(t.min()) for t in targets) < 0:
        raise DataError(f"data set {name!r} has negative class numbers, expected 0, 1, 2, ...")
    return max(int(t.max()) for t in targets) + 1
