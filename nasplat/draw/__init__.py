"""Networks as pictures."""

from __future__ import annotations

from nasplat.draw.strip import draw

__all__ = ["draw"]
