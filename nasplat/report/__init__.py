"""Results as pictures."""

from __future__ import annotations

from nasplat.report.front import plot_front

__all__ = ["plot_front"]
