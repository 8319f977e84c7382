"""The picture of a front: what is drawn where, read back from the figure."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nasplat.errors import NasplatError
from nasplat.report import plot_front

TWO = {"accuracy": "maximize", "latency": "minimize"}


def trials() -> pd.DataFrame:
    """Front: trials 0, 1, 2, of which 1 is the knee and 2 noisy; 3 dominated, 4 infeasible, 5 failed."""
    return pd.DataFrame(
        {
            "number": [0, 1, 2, 3, 4, 5],
            "accuracy": [0.5, 0.9, 0.95, 0.8, 0.99, np.nan],
            "latency": [1.0, 1.5, 4.0, 3.0, 0.5, 1.0],
            "latency_iqr": [0.1, 0.2, 1.0, 0.1, 0.1, np.nan],
            "params": [20_000.0, 30_000.0, 5_000.0, 40_000.0, 90_000.0, 1.0],
            "noisy": [False, False, True, False, False, False],
            "feasible": [True, True, True, True, False, True],
        }
    )


def shown(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_visible()]


def labels(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_cost_goes_right_gain_goes_up_and_axes_name_unit_and_direction() -> None:
    (axes,) = shown(plot_front(trials(), TWO, units={"latency": "ms", "accuracy": "1"}))
    assert axes.get_xlabel() == "latency [ms], lower is better"
    assert axes.get_ylabel() == "accuracy, higher is better"


def test_the_front_is_found_and_its_knee_is_labelled() -> None:
    figure = plot_front(trials(), TWO)
    (axes,) = shown(figure)
    assert [text.get_text() for text in axes.texts] == ["knee: trial 1"]
    assert axes.texts[0].xy == (1.5, 0.9)
    assert figure.get_suptitle() == "5 trials, 3 on the front"
    assert labels(figure) == ["dominated", "infeasible", "front", "front, noisy measurement"]


def test_the_steps_never_promise_what_no_trial_reached() -> None:
    (axes,) = shown(plot_front(trials(), TWO))
    (line,) = [artist for artist in axes.lines if artist.get_drawstyle() == "steps-post"]
    np.testing.assert_allclose(line.get_xydata(), [[1.0, 0.5], [1.5, 0.9], [4.0, 0.95]])


def test_error_bars_reach_half_the_spread_to_each_side() -> None:
    (axes,) = shown(plot_front(trials(), TWO))
    bars = [
        segment for bar in axes.collections if hasattr(bar, "get_segments") for segment in bar.get_segments()
    ]
    widths = sorted(float(segment[1, 0] - segment[0, 0]) for segment in bars)
    assert widths == pytest.approx([0.1, 0.2, 1.0])


def test_columns_of_the_frame_win_over_own_reckoning() -> None:
    frame = trials().assign(on_front=[True, False, False, False, False, False], knee=False)
    figure = plot_front(frame, TWO)
    assert figure.get_suptitle() == "5 trials, 1 on the front"
    assert not shown(figure)[0].texts


def test_three_objectives_give_a_panel_for_each_pair_and_four_give_six() -> None:
    three = TWO | {"params": "minimize"}
    assert len(shown(plot_front(trials(), three))) == 3
    frame = trials().assign(macs=1.0)
    assert len(shown(plot_front(frame, three | {"macs": "minimize"}))) == 6


def test_one_objective_is_shown_over_the_trials() -> None:
    (axes,) = shown(plot_front(trials(), {"accuracy": "maximize"}))
    assert axes.get_xlabel() == "trial"
    assert [text.get_text() for text in axes.texts] == ["best: trial 2"]


def test_a_study_without_a_finished_trial_still_has_a_picture() -> None:
    figure = plot_front(trials().iloc[5:], TWO)
    assert figure.get_suptitle() == "0 trials, 0 on the front"


@pytest.mark.parametrize(("name", "start"), [("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("a.pdf", b"%PDF")])
def test_it_is_saved_whole(tmp_path: Path, name: str, start: bytes) -> None:
    plot_front(trials(), TWO, path=tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_no_global_plotting_state_is_touched() -> None:
    before = {name: value for name, value in matplotlib.rcParams.items() if name != "backend"}
    plot_front(trials(), TWO)
    assert {name: matplotlib.rcParams[name] for name in before} == before
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


def test_the_frame_that_came_in_stays_as_it_was() -> None:
    frame = trials()
    plot_front(frame, TWO)
    pd.testing.assert_frame_equal(frame, trials())


def test_what_cannot_be_plotted_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no column 'energy'"):
        plot_front(trials(), {"energy": "minimize"})
    with pytest.raises(NasplatError, match=r"'a\.bmp'"):
        plot_front(trials(), TWO, path=tmp_path / "a.bmp")
