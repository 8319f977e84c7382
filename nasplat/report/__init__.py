"""Results as pictures."""

from __future__ import annotations

from nasplat.report.front import plot_front
from nasplat.report.layouts import plot_layouts

__all__ = ["plot_front", "plot_layouts"]
