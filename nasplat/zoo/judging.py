"""How well the classifiers of a stack do, in one pass over the data for all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from nasplat.data import Dataset
from nasplat.zoo.group import DIVERGED, TRAINED, Row, finite
from nasplat.zoo.pupils import Pupil
from nasplat.zoo.stack import Stack
from nasplat.zoo.training import outputs_of


def judge(stack: Stack, pupils: Sequence[Pupil], data: Dataset) -> list[Row]:
    """What became of each network: on its own examples with its own labels, and on the other two splits."""
    said = outputs_of(stack, data.train.inputs)
    judged = {
        "train": [_figures(o[p.examples], p.labels[p.examples]) for o, p in zip(said, pupils, strict=True)]
    }
    for name, split in {"validation": data.validation, "test": data.test}.items():
        judged[name] = [_figures(o, split.targets) for o in outputs_of(stack, split.inputs)]
    sound = finite(stack.state()).tolist()
    rows: list[Row] = []
    for k in range(len(stack)):
        row: Row = {f"{name}_{key}": value for name in judged for key, value in judged[name][k].items()}
        known = all(row[f"{name}_loss"] is not None for name in judged)
        row["gap"] = row["train_accuracy"] - row["test_accuracy"]
        rows.append({**row, "status": TRAINED if sound[k] and known else DIVERGED})
    return rows


def _figures(outputs: Tensor, targets: Tensor) -> dict[str, float | None]:
    """Share of hits, and mean cross entropy in nats, None where that is no number."""
    loss = float(F.cross_entropy(outputs, targets))
    hits = float((outputs.argmax(1) == targets).double().mean())
    return {"accuracy": hits, "loss": loss if math.isfinite(loss) else None}
