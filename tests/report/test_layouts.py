"""The picture of pooling layouts: cells, experts and values, read back from the figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from nasplat.errors import NasplatError
from nasplat.report import plot_layouts
from nasplat.report.layouts import EXPERTS, SCALES

TWO = {"accuracy": "maximize", "latency": "minimize"}


def layouts() -> pd.DataFrame:
    """Best first: 3-1-1, 1-1-3, 2-2-1; the second is dominated by none, the third by both; 1-2-2 has failed."""
    return pd.DataFrame(
        {
            "pools": ["2-2-1", "3-1-1", "1-2-2", "1-1-3"],
            "accuracy": [0.5, 0.9, np.nan, 0.7],
            "latency": [3.0, 2.0, 1.0, 1.0],
            "latency_iqr": [0.1, 0.2, np.nan, 0.3],
            "expert": [0, 1, 2, 1],
        }
    )


def panel(figure: Figure, start: str) -> Axes:
    (axes,) = [axes for axes in figure.axes if axes.get_xlabel().startswith(start)]
    return axes


def colours(axes: Axes) -> np.ndarray:
    """The colours (rows, columns, 3) of the cells, the first row on top."""
    (mesh,) = [artist for artist in axes.collections if isinstance(artist, QuadMesh)]
    found: np.ndarray = np.asarray(mesh.get_array())
    return found


def rows(axes: Axes) -> list[str]:
    assert axes.yaxis_inverted()
    return [text.get_text() for text in axes.get_yticklabels()]


def test_a_row_has_a_cell_for_each_block_in_the_colour_of_its_scale_and_the_best_layout_is_on_top() -> None:
    strip = panel(plot_layouts(layouts(), TWO), "block")
    assert rows(strip) == ["3-1-1", "1-1-3", "2-2-1"]
    scales = [[0, 0, 0, 1, 2], [0, 1, 2, 2, 2], [0, 0, 1, 1, 2]]
    np.testing.assert_allclose(colours(strip), [[to_rgb(SCALES[scale]) for scale in row] for row in scales])


def test_the_first_objective_orders_the_rows_by_its_direction() -> None:
    reverse = {name: TWO[name] for name in ("latency", "accuracy")}
    assert rows(panel(plot_layouts(layouts(), reverse), "block")) == ["1-1-3", "3-1-1", "2-2-1"]


def test_the_expert_that_owns_a_layout_stands_beside_it() -> None:
    axes = panel(plot_layouts(layouts(), TWO), "expert")
    assert [(text.get_position()[1], text.get_text()) for text in axes.texts] == [
        (0, "1"),
        (1, "1"),
        (2, "0"),
    ]
    np.testing.assert_allclose(colours(axes), [[to_rgb(EXPERTS[owner])] for owner in (1, 1, 0)])


def test_every_objective_has_its_values_beside_the_strips_with_unit_and_direction() -> None:
    figure = plot_layouts(layouts().drop(columns="expert"), TWO, units={"latency": "ms"})
    assert [axes.get_xlabel() for axes in figure.axes] == [
        "block", "accuracy, higher is better", "latency [ms], lower is better"
    ]  # fmt: skip
    axes = figure.axes[2]
    assert [text.get_text() for text in axes.texts] == ["2.00", "1.00", "3.00"]
    dots = {tuple(xy) for line in axes.lines for xy in line.get_xydata()}
    assert dots == {(2.0, 0.0), (1.0, 1.0), (3.0, 2.0)}


def test_the_legend_explains_scales_and_front_once() -> None:
    figure = plot_layouts(layouts(), TWO)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "full size", "1/2 of the size", "1/4 of the size", "not on the front", "front"
    ]  # fmt: skip


def test_kinds_of_down_samplings_tell_equal_layouts_apart() -> None:
    frame = layouts().assign(pools="2-2-1", pool1="max", pool2=["blur", "max", "max", "strided"])
    names = rows(panel(plot_layouts(frame, TWO), "block"))
    assert names == ["2-2-1 max max", "2-2-1 max strided", "2-2-1 max blur"]


def test_large_numbers_are_written_with_the_letter_of_their_unit() -> None:
    figure = plot_layouts(layouts().assign(macs=40_813_184), {"accuracy": "maximize", "macs": "minimize"})
    assert figure.axes[-1].texts[0].get_text() == "40.8M"


def test_it_is_saved_and_the_frame_stays_as_it_was(tmp_path: Path) -> None:
    frame = layouts()
    plot_layouts(frame, TWO, path=tmp_path / "layouts.png")
    assert (tmp_path / "layouts.png").read_bytes().startswith(b"\x89PNG")
    pd.testing.assert_frame_equal(frame, layouts())


def test_a_picture_is_saved_under_a_path_that_is_typed(tmp_path: Path) -> None:
    picture = plot_layouts(layouts(), TWO)
    picture.write(str(tmp_path / "typed.svg"))
    assert "<svg" in (tmp_path / "typed.svg").read_text()


def test_what_cannot_be_drawn_is_told() -> None:
    with pytest.raises(ValueError, match="no column 'pools'"):
        plot_layouts(layouts().drop(columns="pools"), TWO)
    with pytest.raises(ValueError, match="no objective to plot"):
        plot_layouts(layouts(), {})
    with pytest.raises(NasplatError, match="0 layouts to draw: give at least one"):
        plot_layouts(layouts().iloc[2:3], TWO)
    with pytest.raises(NasplatError, match="all of the same number of blocks"):
        plot_layouts(layouts().assign(pools=["2-2", "3-1", "1-1", "1-1-3"]), TWO)
