"""The card of a pruned network: before and after, and how."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nasplat.store import EvaluationRecord
from nasplat.study.pruning.figures import Figures, latency_json
from nasplat.study.pruning.making import Made
from nasplat.study.pruning.order import NO_DATA
from nasplat.study.pruning.plan import Work

PLAN = "plan.json"
"""The plan, beside the card that names it."""


def card_of(work: Work, made: Made, run: Mapping[str, Any]) -> dict[str, Any]:
    """What the bundle's card says of a run."""
    before, after = made.before, made.after
    return {
        "pruned": {
            "from": work.subject.source,
            "score": made.plan.score,
            "target": made.plan.target,
            **({} if work.order.metanet is None else {"metanetwork": work.order.metanet}),
            "plan": PLAN,
            **_data(work),
            "speedup_macs": before.macs / max(1, after.macs),
            "speedup_latency": before.latency.median_ms / after.latency.median_ms,
            "met": _met(work, after),
            "before": before.as_json(),
            "after": after.as_json(),
            "frozen": made.plan.frozen,
            "epochs": dict(made.epochs),
            "seconds": dict(made.seconds),
            "run": dict(run),
        },
        "metrics": dict(_metrics(work, before, after)),
        "latency": latency_json(after.latency),
        "architecture": {group.name: group.after for group in made.plan.groups},
    }


def _data(work: Work) -> dict[str, str]:
    if work.data is None:
        return {"data": NO_DATA}
    return {"data": work.data.name, "metric": work.data.task.metric, "unit": work.data.task.unit}


def _met(work: Work, after: Figures) -> bool:
    """Whether the last measurement keeps the target; only a latency can come out otherwise than planned."""
    limit = work.order.target.get("max_latency")
    return limit is None or after.latency.median_ms <= limit


def _metrics(work: Work, before: Figures, after: Figures) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows of the README's table: each number before and after."""
    data = work.data
    for when, figures in (("before", before), ("after", after)):
        if data is not None:
            for split, value in (("validation", figures.validation), ("test", figures.test)):
                number = {"value": value, "unit": data.task.unit, "origin": f"{data.name}, {split} split"}
                yield f"{data.task.metric} ({split}), {when}", number
        yield f"MACs, {when}", {"value": figures.macs, "unit": "1", "origin": "counted for one input"}
        yield f"parameters, {when}", {"value": figures.params, "unit": "1", "origin": "counted"}
    yield "latency, before", _latency(before)


def _latency(figures: Figures) -> dict[str, Any]:
    found = figures.latency
    batch, noisy = found.protocol["batch"], ", noisy" if found.noisy else ""
    origin = f"{found.device.name}, batch {batch}, inter-quartile range {found.iqr_ms:.3g} ms{noisy}"
    return {"value": found.median_ms, "unit": "ms", "origin": origin}


def evaluations(card: Mapping[str, Any], run: Mapping[str, Any]) -> list[EvaluationRecord]:
    """What the card says of the smaller network, as rows of a store."""
    about, found = card["pruned"], list[EvaluationRecord]()
    counted = {"protocol": "counted", "plan": card["export"]["files"][PLAN]}
    after, clocked = about["after"], about["after"]["latency"]
    if "metric" in about:
        origin = {**run, "split": "validation"}
        found.append(EvaluationRecord(about["metric"], after["validation"], about["unit"], origin))
    found += [EvaluationRecord(name, float(after[name]), "1", counted) for name in ("macs", "params")]
    origin = {**run, "machine": clocked["device"], "batch": clocked["protocol"]["batch"]}
    measured = {"spread": clocked["iqr_ms"], "n": clocked["n"], "noisy": clocked["noisy"]}
    found.append(EvaluationRecord("latency", clocked["median_ms"], "ms", origin, **measured))
    return found
