"""The metrics that a study file can name.

Each factory takes the bench and the further keys of its `[[objective]]` or `[[constraint]]` table. Beside the
plain names there are `score:NAME` (a zero-cost score), `table:NAME/COLUMN` (a column of a table),
`predicted:NAME` (a trained predictor) and `module:function` or `file.py:function` (the user's own).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from nasplat.arguments import check_arguments
from nasplat.data import Dataset, evaluate
from nasplat.errors import InvalidStudy, expected_one_of
from nasplat.measure import LatencyResult, count_macs, count_params, device_info, measure_latency
from nasplat.metric.candidate import Candidate, Workbench, versions
from nasplat.metric.measurement import Cost, Measurement, Metric
from nasplat.metric.predicted import PREFIX as PREDICTED
from nasplat.metric.predicted import predicted_metric
from nasplat.metric.score import score_metric
from nasplat.metric.source import source_hash
from nasplat.metric.table import PREFIX, table_metric
from nasplat.plugins import load, load_object, names
from nasplat.scoring import Score
from nasplat.supernet import Recipe, Settings, train_network

Factory = Callable[..., Metric]


def make_metric(
    name: str, arguments: Mapping[str, Any], bench: Workbench, base: Path | None = None
) -> Metric:
    """The metric that a study file names, bound to the bench.

    Raises InvalidStudy for an unknown name and ArgumentError for arguments that it does not take.
    """
    factory, signature = _factory(name, bench, base)
    return factory(**check_arguments(signature, arguments, f"metric {name!r}"))


def metric_names(data: Dataset | None = None) -> list[str]:
    """All plain names, with the one of the data's task, and the scores by their prefix."""
    task = "accuracy" if data is None else data.task.metric
    scores = [f"score:{name}" for name in names("predictors") if isinstance(load("predictors", name), Score)]
    return [*METRICS, task, *scores, "table:NAME/COLUMN", "predicted:NAME", "module:function"]


def _factory(name: str, bench: Workbench, base: Path | None) -> tuple[Factory, Callable[..., Any]]:
    """What makes the metric, and the signature that its arguments are checked against."""
    if name == "accuracy":
        bench.need_data(name)
    if bench.data is not None and name == bench.data.task.metric:
        if not bench.inherits:
            return partial(trained, bench), Recipe
        factory: Factory = partial(inherited, bench)
    elif name in METRICS:
        factory = partial(METRICS[name], bench)
    elif name.startswith("score:"):
        factory = partial(score_metric, bench, name.removeprefix("score:"), base)
    elif name.startswith(PREFIX):
        factory = partial(table_metric, bench, name, base)
    elif name.startswith(PREDICTED):
        factory = partial(predicted_metric, bench, name, base)
    elif ":" in name:
        factory = partial(own_metric, bench, name, base)
    else:
        raise InvalidStudy(f"unknown metric {name!r}; {expected_one_of(name, metric_names(bench.data))}")
    return factory, factory


def params(bench: Workbench) -> Metric:
    """Trainable parameters."""

    def measure(candidate: Candidate) -> float:
        return count_params(candidate.network)

    return Metric("params", "1", "minimize", Cost.COUNT, _counting(), _timed(measure))


def macs(bench: Workbench) -> Metric:
    """Multiply-adds of convolutions and matrix products for one input."""

    def measure(candidate: Candidate) -> float:
        return count_macs(candidate.network, bench.example())

    return Metric("macs", "1", "minimize", Cost.COUNT, _counting(), _timed(measure))


def latency(
    bench: Workbench,
    device: str | None = None,
    batch: int = 1,
    dtype: str = "float32",
    threads: int | None = None,
    channels_last: bool = False,
) -> Metric:
    """Median time of one forward pass on a device, in milliseconds; the study's device unless one is named.

    A noisy measurement is repeated up to twice; the narrowest one counts, and stays flagged when it is noisy too.
    """
    place = device or bench.device
    number = _floating_type(dtype)
    machine = device_info(place).to_json()

    def clock(candidate: Candidate) -> LatencyResult:
        return measure_latency(
            candidate.network,
            bench.example(batch),
            device=place,
            dtype=number,
            threads=threads,
            channels_last=channels_last,
        )

    def measure(candidate: Candidate) -> Measurement:
        start = perf_counter()
        tries: list[LatencyResult] = []
        while len(tries) < 3 and (not tries or tries[-1].noisy):
            tries.append(clock(candidate))
        best = min(tries, key=lambda t: t.iqr_ms / t.median_ms)
        return Measurement(best.median_ms, perf_counter() - start, best.iqr_ms, best.n, best.noisy)

    origin = {
        "protocol": "latency",
        "batch": batch,
        "dtype": dtype,
        "threads": threads or torch.get_num_threads(),
        "channels_last": channels_last,
        "input_shape": list(bench.example().shape[1:]),
        "machine": machine,
    }
    return Metric("latency", "ms", "minimize", Cost.CLOCK, origin, measure)


def inherited(bench: Workbench) -> Metric:
    """The task's metric on the validation split, with the supernet's weights and recalibrated norms.

    A study may ask for norms that are not recalibrated; the origin says so.
    """
    data = bench.need_data("accuracy")

    def measure(candidate: Candidate) -> float:
        return evaluate(candidate.network, data.validation, data.task, device=bench.device)

    origin = {
        "protocol": "inherited weights",
        "supernet": bench.supernet_hash,
        "calibration": _calibration(bench),
        **_validation(bench, data),
    }
    return Metric(
        data.task.metric, data.task.unit, data.task.direction, Cost.INHERITED, origin, _timed(measure)
    )


def trained(bench: Workbench, **settings: Any) -> Metric:
    """The task's metric on the validation split after training the network alone from scratch.

    The further keys are those of the training recipe (epochs, batch_size, learning_rate, ...), which the space may
    have defaults for. Its value after each epoch is reported, so that a pruner can stop a trial early.
    """
    data = bench.need_data("accuracy")
    recipe = Recipe(**{**bench.recipe, **settings})

    def measure(candidate: Candidate) -> float:
        settings = Settings(bench.device, bench.seed, progress=lambda *_: candidate.alive())
        train_network(candidate.network, data, recipe, settings, on_epoch=candidate.report)
        candidate.network.eval()
        candidate.trained = candidate.unsaved = True
        return evaluate(candidate.network, data.validation, data.task, device=bench.device)

    origin = {"protocol": "trained alone", "recipe": asdict(recipe), "seed": bench.seed}
    origin |= _validation(bench, data)
    return Metric(
        data.task.metric, data.task.unit, data.task.direction, Cost.TRAINED, origin, _timed(measure)
    )


def own_metric(bench: Workbench, name: str, base: Path | None, unit: str = "1") -> Metric:
    """A function of the user's, `function(candidate) -> float`, from `module:function` or `file.py:function`.

    The candidate gives `arch`, `network` (built on demand, on `device`), `data` (on the CPU), `report(step, value)`
    and `alive()`. Where the study also trains networks alone, `network` is the trained one.
    """
    function = load_object(name, base)
    if not callable(function):
        raise InvalidStudy(f"metric {name!r} is {type(function).__name__}, not a function of a candidate")
    origin = {
        "protocol": "function",
        "function": name,
        "source": source_hash(function),
        "seed": bench.seed,
        "supernet": bench.supernet_hash,
        "calibration": bench.calibration_batches,
        "device": torch.device(bench.device).type,
        "data": None if bench.data is None else bench.data.identity,
        **versions(),
    }
    return Metric(name, unit, None, Cost.UNKNOWN, origin, _timed(function))


def _floating_type(name: str) -> torch.dtype:
    kinds = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
    if name not in kinds:
        raise InvalidStudy(f"dtype {name!r} is unknown; {expected_one_of(name, kinds)}")
    return kinds[name]


def _counting() -> dict[str, Any]:
    return {"protocol": "count", **versions()}


def _calibration(bench: Workbench) -> dict[str, Any]:
    """How the norms of a subnet come by their statistics."""
    if not bench.calibration_batches:
        return {"batches": 0, "statistics": "running ones, shared by all subnets"}
    return {"batches": bench.calibration_batches, "size": 64, "seed": bench.seed}


def _validation(bench: Workbench, data: Dataset) -> dict[str, Any]:
    device = torch.device(bench.device).type  # GPUs train and round otherwise than CPUs
    return {"split": "validation", "data": data.identity, "device": device, **versions()}


def _timed(function: Callable[[Candidate], Any]) -> Callable[[Candidate], Measurement]:
    """The measurement that a function's plain number makes; a number that is not finite is a failure."""

    def measure(candidate: Candidate) -> Measurement:
        start = perf_counter()
        value = float(function(candidate))
        seconds = perf_counter() - start
        if not math.isfinite(value):
            return Measurement(None, seconds, status="failed", reason=f"the value is {value}")
        return Measurement(value, seconds)

    return measure


METRICS: dict[str, Factory] = {"params": params, "macs": macs, "latency": latency}
