"""Is the noise of a device that of single networks, or of periods? NAS-Bench-201, by the order of its official index.

    python studies/latency_prediction/drift.py

Neighbours in the index are unlike cells, so what their errors have in common comes from when they were measured.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
from published import Floats, published

from nasplat.prediction.blocks import Blocks
from nasplat.prediction.costs import Lesson, bounded, learned_prior

WIDE = 0.05
"""Errors of the logarithm beyond it are cut, so that a few do not decide."""


def errors(x: Floats, y: Floats) -> Floats:
    """Logarithms of latencies over costs that were fitted to all of them, (n,)."""
    lesson = Lesson.of(x, y)
    return lesson.errors(bounded(lesson, learned_prior(lesson, (0.0,)), 0.1))


def main() -> None:
    """A row for each device: half the width of the middle 90 % of errors, and how much neighbours share."""
    data = published("nb201")
    x = Blocks.of(data.samples).columns(data.samples)
    print("| device | 90 % of errors within | correlation of neighbours |\n| --- | --- | --- |")
    for device, y in data.latencies.items():
        found = errors(x, y)
        low, high = np.percentile(found, (5, 95))
        cut = np.clip(found - np.median(found), -WIDE, WIDE)
        print(f"| {device} | {100 * (high - low) / 2:.1f} % | {np.corrcoef(cut[1:], cut[:-1])[0, 1]:.2f} |")


if __name__ == "__main__":
    main()
