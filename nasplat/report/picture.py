"""A figure that stands alone."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from nasplat.errors import NasplatError
from nasplat.files import write_atomic

TYPES = (".png", ".svg", ".pdf")


class Picture(Figure):
    """A matplotlib figure without pyplot behind it, which a notebook shows all the same."""

    def __init__(self, width: float, height: float) -> None:
        super().__init__(figsize=(width, height), dpi=120, layout="constrained")
        FigureCanvasAgg(self)

    def write(self, path: str | Path) -> None:
        """Save it as a whole; NasplatError for any other type of file than .png, .svg or .pdf."""
        path = Path(path)
        if path.suffix not in TYPES:
            raise NasplatError(
                f"a picture cannot be saved as {path.name!r}; choose a name that ends with one of {TYPES}"
            )
        content = io.BytesIO()
        self.savefig(content, format=path.suffix[1:])
        write_atomic(path, content.getvalue())

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        self.savefig(content, format="png")
        return content.getvalue()
