"""CIFAR-10 (Krizhevsky, 2009): 50,000 + 10,000 colour images of 32x32 pixels, ten classes, binary version."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nasplat.data.dataset import Dataset
from nasplat.data.images import Labelled, image_dataset, validation_split
from nasplat.data.raw import data_folder, read_bytes
from nasplat.errors import DataError

SOURCE = "CIFAR-10 binary version: www.cs.toronto.edu/~kriz/cifar.html"
SHAPE = (3, 32, 32)
RECORDS, RECORD = 10_000, 1 + 3 * 32 * 32  # records a file; bytes a record: a label, then red, green, blue
TRAIN, TEST = [f"data_batch_{k}.bin" for k in range(1, 6)], ["test_batch.bin"]


def cifar10(
    *,
    folder: str | Path | None = None,
    validation: float = 0.1,
    limit: int | None = None,
    augment: bool = True,
    seed: int = 0,
) -> Dataset:
    """CIFAR-10 as (n, 3, 32, 32); test is the official test set, always whole.

    validation: share or count of the official training set, drawn by seed. limit: only so many training
    images, validation included. augment: random crops with 4 pixels of padding and mirror images.
    Reading .xz takes seconds.
    """
    place = data_folder(folder, "cifar10", SOURCE)
    images, labels = _read(place, TRAIN)
    splits = validation_split(images, labels, validation=validation, limit=limit, seed=seed)
    splits["test"] = _read(place, TEST)
    arguments = {"validation": validation, "limit": limit, "augment": augment, "seed": seed}
    return image_dataset("cifar10", splits, classes=10, arguments=arguments, augment=augment)


def _read(folder: Path, names: list[str]) -> Labelled:
    content = b"".join(read_bytes(folder, name, RECORDS * RECORD, SOURCE) for name in names)
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, RECORD)
    labels = records[:, 0].astype(np.int64)
    if labels.max() > 9:
        wrong = names[int(labels.argmax()) // RECORDS]
        raise DataError(f"{folder / wrong} has label {labels.max()}, expected 0 to 9; get it from {SOURCE}")
    return records[:, 1:].reshape(-1, *SHAPE), labels
