"""From pixels to a data set of images: split by seed, normalised, augmented."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from nasplat.data.dataset import Dataset, Split
from nasplat.errors import DataError

Images = NDArray[Any]  # (n, c, h, w), uint8 or float in 0..1
Labels = NDArray[np.int64]  # (n,)
Labelled = tuple[Images, Labels]


def image_dataset(
    name: str,
    splits: Mapping[str, Labelled],
    *,
    classes: int,
    arguments: Mapping[str, Any],
    augment: bool = False,
) -> Dataset:
    """A data set of images in float32 (n, c, h, w), normalised per channel by the training statistics.

    The statistics are rounded to four digits, as they are published: so equal pixels give equal bits, and an
    equal hash, on every machine.
    """
    mean, std = channel_statistics(splits["train"][0])
    ready = {key: _normalised(images, labels, mean, std) for key, (images, labels) in splits.items()}
    sizes = {key: len(split) for key, split in ready.items()}
    origin = {"name": name, "arguments": dict(arguments), "sizes": sizes, "mean": mean, "std": std}
    crop_flip = crop_and_flip if augment else None
    train, validation, test = (ready[key] for key in ("train", "validation", "test"))
    return Dataset(name, train, validation, test, classes=classes, augment=crop_flip, origin=origin)


def channel_statistics(images: Images) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel of images (n, c, h, w), on the scale 0..1, four digits."""
    scale = 255.0 if images.dtype == np.uint8 else 1.0
    mean = [float(images[:, c].mean(dtype=np.float64)) / scale for c in range(images.shape[1])]
    std = [float(images[:, c].std(dtype=np.float64)) / scale for c in range(images.shape[1])]
    return [round(m, 4) for m in mean], [max(round(s, 4), 1e-4) for s in std]


def _normalised(images: Images, labels: Labels, mean: list[float], std: list[float]) -> Split:
    pixels = torch.from_numpy(images.astype(np.float32))
    if images.dtype == np.uint8:
        pixels /= 255
    pixels -= torch.tensor(mean).view(1, -1, 1, 1)
    pixels /= torch.tensor(std).view(1, -1, 1, 1)
    return Split(pixels, torch.from_numpy(np.asarray(labels, dtype=np.int64)))


def validation_split(
    images: Images, labels: Labels, *, validation: float, limit: int | None, seed: int
) -> dict[str, Labelled]:
    """Training and validation examples, drawn by seed from an official training set.

    validation: a share (0 < v < 1) or a count (1 or more). limit: use so many examples only, both together.
    """
    total = len(images) if limit is None else limit
    if not 2 <= total <= len(images):
        raise DataError(f"limit = {limit}: expected 2 to {len(images)} training images")
    held = round(total * validation if validation < 1 else validation)
    if not 1 <= held < total:
        raise DataError(
            f"validation = {validation}: expected a share between 0 and 1, or a count of 1 to {total - 1}"
        )
    order = np.random.default_rng(seed).permutation(len(images))[:total]
    parts = {"train": order[held:], "validation": order[:held]}
    return {key: (images[part], labels[part]) for key, part in parts.items()}


def crop_and_flip(images: Tensor, generator: torch.Generator, padding: int = 4) -> Tensor:
    """Shift each image (n, c, h, w) by up to `padding` pixels and mirror half of them, each on its own.

    The usual augmentation of small images (arXiv:1512.03385, section 4.2). The border is filled with 0, which
    after normalisation is the mean colour. Draws on the generator's device, then goes where the images are.
    """
    n, channels, height, width = images.shape
    shifts = torch.randint(0, 2 * padding + 1, (2, n, 1), generator=generator, device=generator.device)
    mirror = torch.rand(n, 1, generator=generator, device=generator.device) < 0.5
    shifts, mirror = shifts.to(images.device), mirror.to(images.device)
    rows = shifts[0] + torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device).expand(n, width)
    columns = shifts[1] + torch.where(mirror, columns.flip(1), columns)
    example = torch.arange(n, device=images.device).view(n, 1, 1, 1)
    channel = torch.arange(channels, device=images.device).view(1, channels, 1, 1)
    padded = F.pad(images, [padding] * 4)
    return padded[example, channel, rows.view(n, 1, height, 1), columns.view(n, 1, 1, width)]
