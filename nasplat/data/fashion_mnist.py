"""Fashion-MNIST (arXiv:1708.07747): 60,000 + 10,000 grey images of 28x28 pixels, ten classes, IDX files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nasplat.data.dataset import Dataset
from nasplat.data.images import Images, Labelled, Labels, image_dataset, validation_split
from nasplat.data.raw import data_folder, read_bytes
from nasplat.errors import DataError

SOURCE = "Fashion-MNIST: github.com/zalandoresearch/fashion-mnist"
COUNTS = {"train": 60_000, "t10k": 10_000}
IMAGES_MAGIC, LABELS_MAGIC = 2051, 2049  # type uint8 with 3 and with 1 dimensions


def fashion_mnist(
    *,
    folder: str | Path | None = None,
    validation: float = 0.1,
    limit: int | None = None,
    augment: bool = True,
    seed: int = 0,
) -> Dataset:
    """Fashion-MNIST as (n, 1, 28, 28); test is the official test set, always whole.

    validation: share or count of the official training set, drawn by seed. limit: only so many training
    images, validation included. augment: random crops and mirror images, which its authors' table of
    benchmarks calls standard.
    """
    place = data_folder(folder, "fashion-mnist", SOURCE)
    images, labels = _read(place, "train")
    splits = validation_split(images, labels, validation=validation, limit=limit, seed=seed)
    splits["test"] = _read(place, "t10k")
    arguments = {"validation": validation, "limit": limit, "augment": augment, "seed": seed}
    return image_dataset("fashion_mnist", splits, classes=10, arguments=arguments, augment=augment)


def _read(folder: Path, part: str) -> Labelled:
    images = _idx(folder, f"{part}-images-idx3-ubyte", (COUNTS[part], 28, 28), IMAGES_MAGIC)
    labels = _idx(folder, f"{part}-labels-idx1-ubyte", (COUNTS[part],), LABELS_MAGIC)
    if labels.max() > 9:
        raise DataError(
            f"{folder}/{part}-labels-idx1-ubyte has label {labels.max()}, expected 0 to 9 ({SOURCE})"
        )
    label: Labels = labels.astype(np.int64)
    return images[:, None], label


def _idx(folder: Path, name: str, shape: tuple[int, ...], magic: int) -> Images:
    """An IDX file of bytes: big-endian int32 magic and dimensions, then the values, row-major."""
    header = np.array([magic, *shape], dtype=">i4")
    content = read_bytes(folder, name, header.nbytes + int(np.prod(shape)), SOURCE)
    found = np.frombuffer(content, dtype=">i4", count=len(header))
    if not np.array_equal(found, header):
        raise DataError(
            f"{folder / name} starts with {found.tolist()}, expected {header.tolist()}; get it from {SOURCE}"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=header.nbytes).reshape(shape)
