"""Metrics: named, directed numbers of one architecture, with all that they depend on as origin."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from nasplat import Arch, Dataset, NasplatError, Space, Split, ordinal
from nasplat.arguments import ArgumentError
from nasplat.errors import InvalidStudy
from nasplat.measure import device_info
from nasplat.metric import Candidate, Cost, Workbench, make_metric, metric_names


def build(arch: Arch) -> nn.Module:
    return nn.Sequential(nn.Linear(4, arch["width"]), nn.ReLU(), nn.Linear(arch["width"], 2))


@pytest.fixture
def data() -> Dataset:
    x = torch.randn(3, 96, 4, generator=torch.Generator().manual_seed(0))
    return Dataset("signs", *(Split(part, (part.sum(1) > 0).long()) for part in x), classes=2)


@pytest.fixture
def bench(data: Dataset) -> Workbench:
    return Workbench(Space("mlp", [ordinal("width", [8, 64])], build=build, input_shape=(4,)), data)


def candidate(bench: Workbench, width: int = 64) -> Candidate:
    return Candidate(bench.space.arch({"width": width}), bench)


def test_sizes_are_those_counted_by_hand(bench: Workbench) -> None:
    chosen = candidate(bench, 8)
    assert make_metric("params", {}, bench).measure(chosen).value == (4 + 1) * 8 + (8 + 1) * 2
    assert make_metric("macs", {}, bench).measure(chosen).value == 4 * 8 + 8 * 2


def test_network_is_built_once_for_all_metrics(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    whole = bench.space.build
    monkeypatch.setattr(bench.space, "build", lambda *a, **k: (built.append(1), whole(*a, **k))[1])
    chosen = candidate(bench)
    for name in ("params", "macs", "score:synflow", "accuracy"):
        arguments = {"epochs": 1} if name == "accuracy" else {}
        make_metric(name, arguments, bench).measure(chosen)
    assert len(built) == 1


def test_latency_has_a_spread_a_number_of_repeats_and_a_device_of_its_own(bench: Workbench) -> None:
    metric = make_metric("latency", {"batch": 3, "threads": 1}, bench)
    measured = metric.measure(candidate(bench))
    assert measured.value is not None
    assert measured.spread is not None
    assert measured.spread >= 0
    assert measured.n is not None
    assert measured.n >= 10
    assert (metric.unit, metric.direction, metric.cost) == ("ms", "minimize", Cost.CLOCK)
    assert metric.origin["machine"] == device_info("cpu").to_json()
    assert (metric.origin["batch"], metric.origin["threads"], metric.origin["dtype"]) == (3, 1, "float32")


def test_accuracy_trained_alone_learns_reports_every_epoch_and_asks_to_keep_its_weights(
    bench: Workbench,
) -> None:
    steps: list[tuple[int, float]] = []
    chosen = Candidate(bench.space.largest(), bench, report=lambda step, value: steps.append((step, value)))
    metric = make_metric("accuracy", {"epochs": 4, "batch_size": 16}, bench)
    measured = metric.measure(chosen)
    assert [step for step, _ in steps] == [1, 2, 3, 4]
    assert measured.value == steps[-1][1] > 0.8
    assert chosen.unsaved
    assert not chosen.network.training


def test_equal_seeds_train_to_equal_accuracy(bench: Workbench) -> None:
    metric = make_metric("accuracy", {"epochs": 1}, bench)
    first, second = (metric.measure(candidate(bench)).value for _ in range(2))
    assert first == second


def test_score_is_of_the_untrained_network_even_after_a_training(bench: Workbench) -> None:
    score = make_metric("score:synflow", {}, bench)
    before = score.measure(candidate(bench))
    chosen = candidate(bench)
    make_metric("accuracy", {"epochs": 1}, bench).measure(chosen)
    after = score.measure(chosen)
    assert before.value == after.value
    assert before.per_module


MINE = """
from nasplat import load
from dataclasses import replace

SCORE = replace(load("predictors", "synflow"), function=lambda evidence: (7.0, {}), direction="minimize")
"""


def test_a_score_of_the_users_does_not_pass_for_one_of_the_same_name(
    bench: Workbench, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    for order in (1, -1):
        names = ["score:synflow", "score:mine.py:SCORE"][::order]
        metrics = {name: make_metric(name, {}, bench, tmp_path) for name in names}
        chosen = candidate(bench)
        found = {name: metric.measure(chosen).value for name, metric in metrics.items()}
        assert found["score:mine.py:SCORE"] == 7.0 != found["score:synflow"]


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("params", {}, {"protocol", "torch", "nasplat"}),
        ("latency", {}, {"protocol", "machine", "batch", "dtype", "threads", "channels_last", "input_shape"}),
        ("accuracy", {}, {"protocol", "recipe", "seed", "split", "data", "device", "torch", "nasplat"}),
        ("score:synflow", {}, {"protocol", "batch", "seed", "source", "passes", "data", "torch", "nasplat"}),
        (
            "math:fsum",
            {},
            {"protocol", "function", "source", "seed", "supernet", "calibration", "device", "data"}
            | {"torch", "nasplat"},
        ),
    ],
)
def test_origin_names_all_that_a_value_depends_on(
    bench: Workbench, name: str, arguments: dict[str, object], expected: set[str]
) -> None:
    assert make_metric(name, arguments, bench).origin.keys() == expected


def test_other_data_other_seeds_and_other_recipes_are_other_origins(bench: Workbench, data: Dataset) -> None:
    flipped = Dataset("flipped", data.validation, data.train, data.test, classes=2)
    origins = [
        make_metric("accuracy", {}, bench).origin,
        make_metric("accuracy", {"epochs": 3}, bench).origin,
        make_metric("accuracy", {}, Workbench(bench.space, flipped)).origin,
        make_metric("accuracy", {}, Workbench(bench.space, data, seed=1)).origin,
    ]
    assert all(a != b for i, a in enumerate(origins) for b in origins[:i])
    assert make_metric("accuracy", {"epochs": 20}, bench).origin == origins[0]  # the default, spelled out


def test_function_of_a_file_is_a_metric_whose_origin_holds_the_hash_of_the_file(
    bench: Workbench, tmp_path: Path
) -> None:
    file = tmp_path / "own.py"
    file.write_text("def double(candidate):\n    return 2 * candidate.arch['width']\n")
    first = make_metric("own.py:double", {"unit": "m"}, bench, tmp_path)
    assert (first.measure(candidate(bench)).value, first.unit, first.direction) == (128, "m", None)
    file.write_text("def double(candidate):\n    return 3 * candidate.arch['width']\n")
    second = make_metric("own.py:double", {"unit": "m"}, bench, tmp_path)
    assert second.measure(candidate(bench)).value == 192
    assert first.origin != second.origin


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_value_that_is_not_finite_is_a_failure_with_a_reason(
    bench: Workbench, tmp_path: Path, value: float
) -> None:
    (tmp_path / "own.py").write_text(f"def broken(candidate):\n    return float('{value}')\n")
    measured = make_metric("own.py:broken", {}, bench, tmp_path).measure(candidate(bench))
    assert (measured.value, measured.status, measured.reason) == (None, "failed", f"the value is {value}")


def test_names_hold_sizes_the_metric_of_the_task_and_scores_by_their_prefix() -> None:
    found = metric_names()
    assert {"params", "macs", "latency", "accuracy", "score:synflow", "score:nwot"} <= set(found)


@pytest.mark.parametrize(
    ("name", "arguments", "line"),
    [
        ("acuracy", {}, "unknown metric 'acuracy'; did you mean 'accuracy'"),
        ("accuracy", {"epoch": 3}, "metric 'accuracy' has no key 'epoch'; did you mean 'epochs'"),
        ("accuracy", {"epochs": 0}, "epochs = 0: expected at least 1"),
        ("score:synflow", {"batch": "x"}, "batch = 'x'"),
        ("math:pi", {}, "metric 'math:pi' is float, not a function of a candidate"),
        ("nowhere:f", {}, "no module 'nowhere' is installed"),
        ("latency", {"device": "tpu"}, "tpu"),
    ],
)
def test_mistakes_are_told_in_one_line(
    bench: Workbench, name: str, arguments: dict[str, object], line: str
) -> None:
    with pytest.raises(NasplatError, match=line) as told:
        make_metric(name, arguments, bench)
    assert "\n" not in str(told.value)


def test_what_needs_data_says_so(bench: Workbench) -> None:
    bare = Workbench(bench.space)
    for name in ("accuracy", "score:nwot"):
        with pytest.raises(InvalidStudy, match=rf"metric '{name}' needs data; add a \[data\] table"):
            make_metric(name, {}, bare)
    with pytest.raises(ArgumentError):
        make_metric("params", {"device": "cpu"}, bare)


def test_a_score_of_shapes_needs_no_data(bench: Workbench) -> None:
    bare = Workbench(bench.space)
    values = [make_metric("score:synflow", {}, b).measure(candidate(b)).value for b in (bare, bench)]
    assert values[0] == values[1] is not None


def test_a_score_that_fails_has_no_value_and_a_reason(bench: Workbench) -> None:
    found = make_metric("score:nwot", {}, bench).measure(candidate(bench, 8))
    assert found.value is None
    assert found.status == "failed"
    assert "singular" in found.reason


def test_example_is_of_the_data_or_of_the_shape_that_the_space_names(bench: Workbench) -> None:
    assert bench.example(200).shape == (200, 4)  # more than there are training inputs
    assert Workbench(bench.space).example(2).shape == (2, 4)
    with pytest.raises(InvalidStudy, match="has no input_shape"):
        Workbench(Space("x", bench.space.choices, build=build)).example()
