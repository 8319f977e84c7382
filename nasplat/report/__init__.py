"""Results as pictures."""

from __future__ import annotations

from nasplat.report.front import plot_front
from nasplat.report.layouts import plot_layouts
from nasplat.report.scores import plot_agreement, plot_calibration

__all__ = ["plot_agreement", "plot_calibration", "plot_front", "plot_layouts"]
