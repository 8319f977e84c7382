"""The handwritten digits that come with scikit-learn: 1,797 images of 8x8 pixels, ten classes.

Plain, they saturate near 98 % for any network, and rankings are noise. Translated and cluttered on a larger
canvas they are wide enough to rank networks: small convolutions reach 0.5 to 0.8 in a few hundred steps.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nasplat.data.dataset import Dataset
from nasplat.data.images import Labelled, image_dataset
from nasplat.errors import DataError

SIZES = {"train": 900, "validation": 400, "test": 497}
SIDE, PIECE = 8, 4  # pixels: of a digit, of a piece of clutter
Pixels = NDArray[np.float32]


def digits(*, seed: int = 0) -> Dataset:
    """The digits as they are: (n, 1, 8, 8), split 900 / 400 / 497 by seed."""
    return image_dataset("digits", _splits(seed), classes=10, arguments={"seed": seed})


def translated_digits(
    *, canvas: int = 16, clutter: int = 2, noise: float = 0.25, copies: int = 8, seed: int = 0
) -> Dataset:
    """Each digit at a random place of a canvas, among clutter and noise: (n, 1, canvas, canvas).

    Clutter: one to `clutter` pieces (none for 0) of 4x4 pixels from other digits of the same split.
    noise: standard deviation of Gaussian noise, where ink is 1. The digits are split 900 / 400 / 497 before
    anything is drawn; training digits are drawn `copies` times, the others once.
    """
    arguments = {"canvas": canvas, "clutter": clutter, "noise": noise, "copies": copies, "seed": seed}
    _check(canvas, clutter, noise, copies)
    rendered = {}
    for number, (key, (images, labels)) in enumerate(_splits(seed).items()):
        times = copies if key == "train" else 1
        rng = np.random.default_rng([seed, number])
        drawn = [_render(images[:, 0], canvas, clutter, rng) for _ in range(times)]
        pixels = np.concatenate(drawn)
        pixels += rng.normal(0, noise, pixels.shape).astype(np.float32)
        rendered[key] = (pixels[:, None], np.tile(labels, times))
    return image_dataset("translated_digits", rendered, classes=10, arguments=arguments)


def _check(canvas: int, clutter: int, noise: float, copies: int) -> None:
    if canvas < SIDE:
        raise DataError(f"canvas = {canvas}: expected at least {SIDE} pixels, the side of a digit")
    if clutter < 0 or noise < 0:
        raise DataError(f"clutter = {clutter}, noise = {noise}: expected 0 or more of each")
    if copies < 1:
        raise DataError(f"copies = {copies}: expected at least 1 drawing of each training digit")


def _splits(seed: int) -> dict[str, Labelled]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = (bunch.images / 16).astype(np.float32)[:, None]
    order = np.random.default_rng(seed).permutation(len(images))
    parts = np.split(order, np.cumsum(list(SIZES.values()))[:-1])
    return {key: (images[part], bunch.target[part]) for key, part in zip(SIZES, parts, strict=True)}


def _render(images: Pixels, canvas: int, clutter: int, rng: np.random.Generator) -> Pixels:
    n = len(images)
    drawn = np.zeros((n, canvas, canvas), np.float32)
    _paste(drawn, images, rng)
    pieces = rng.integers(1, clutter + 1, n) if clutter else np.zeros(n, int)
    for k in range(clutter):
        others = (np.arange(n) + rng.integers(1, n, n)) % n
        ink = images[others][_window(n, SIDE, PIECE, rng)]
        _paste(drawn, ink * (k < pieces)[:, None, None], rng)
    return drawn


def _paste(drawn: Pixels, patches: Pixels, rng: np.random.Generator) -> None:
    """Draw one patch (n, k, k) on each canvas, at a random place; the darker ink wins."""
    window = _window(len(drawn), drawn.shape[1], patches.shape[1], rng)
    drawn[window] = np.maximum(drawn[window], patches)


def _window(n: int, outer: int, inner: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], ...]:
    """Indices of a random inner x inner square in each of n squares outer x outer."""
    top, left = rng.integers(0, outer - inner + 1, (2, n, 1))
    rows, columns = top + np.arange(inner), left + np.arange(inner)
    return np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]
