"""From the network that a person names to a smaller one as a bundle, with a card and a row of the store."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nasplat.errors import ExportError, InvalidStudy
from nasplat.export import Bundle, check_bundle, check_folder, export_network
from nasplat.export.formats import check_formats
from nasplat.files import file_hash, json_hash
from nasplat.measure import device_info
from nasplat.metric import versions
from nasplat.prune import Plan
from nasplat.space import Arch
from nasplat.store import Outcome
from nasplat.study.pruning.card import PLAN, card_of, evaluations
from nasplat.study.pruning.figures import AGREEMENT
from nasplat.study.pruning.making import Made, make
from nasplat.study.pruning.order import PruneOrder
from nasplat.study.pruning.plan import Work, make_plan, prepare, start_of
from nasplat.study.pruning.record import STORE, Book, architecture, objectives
from nasplat.study.run import Silence, Watcher


@dataclass(frozen=True, slots=True)
class Delivery:
    """Where the result goes: the folder of the bundle and its formats; the store and the name of the study there.

    store: an address; None for `prunes.db` beside the folder. name: the network's unless it is given.
    """

    folder: Path
    formats: tuple[str, ...] = ("state",)
    store: str | None = None
    name: str | None = None
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class Pruned:
    """A run: its bundle with its card, the plan, the study's page and the trial. fresh: False where it was there."""

    bundle: Bundle
    card: Mapping[str, Any]
    plan: Plan
    page: Path
    trial: int
    fresh: bool


def prune_model(order: PruneOrder, delivery: Delivery, watcher: Watcher | None = None) -> Pruned:
    """Prune a network, finetune it, measure it, and write it as a bundle and as a row of a store.

    Nothing is written before everything is known: first the bundle, whole or not at all, then the row. The same order
    again finds both and does nothing; where one is missing, only that is made.
    NasplatError, in one line: a network that is no network or cannot be traced, weights or data that do not fit, a
    target that cannot be met, a metanetwork of another family, a folder that holds something else.
    """
    check_formats(delivery.formats)
    work = prepare(order)
    run = _run(work)
    book = _book(work, delivery)
    known = _there(delivery, run)
    if known is not None:
        return _found(known, run, book)
    check_folder(delivery.folder, delivery.overwrite)
    book.check()
    made = make(work, watcher or Silence())
    bundle = _exported(work, made, run, delivery)
    trial = _written(bundle, made.plan, run, book)
    return Pruned(bundle, _card(bundle), made.plan, book.page, trial, fresh=True)


def plan_model(order: PruneOrder) -> Plan:
    """The plan alone: nothing is trained, and nothing is written."""
    work = prepare(order)
    return make_plan(work, start_of(work))[0]


def _run(work: Work) -> dict[str, Any]:
    """All that decides what comes out: the run's origin."""
    data, metanet = work.data, work.metanet
    return {
        "protocol": "pruned",
        "model": {"source": work.subject.source, "hash": work.subject.hash},
        "metanetwork": None if metanet is None else json_hash(metanet.card.as_json()),
        "data": None if data is None else data.identity,
        "input_shape": list(work.example.shape[1:]),
        **work.order.as_json(),
        "machine": device_info(work.device).to_json(),
        **versions(),
    }


def _book(work: Work, delivery: Delivery) -> Book:
    """Where the run is written down: runs that share a study can be compared."""
    data, latency = work.data, "max_latency" in work.order.target
    place = work.device.replace(":", "-")
    words = [work.subject.name, *(["latency", place] if latency else []), *([] if data else ["no-data"])]
    about = {
        "model": work.subject.hash,
        "data": None if data is None else data.hash,
        "latency": {"machine": device_info(work.device).to_json(), "batch": work.order.batch}
        if latency
        else None,
    }
    task = None if data is None else (data.task.metric, data.task.direction)
    folder = delivery.folder.resolve().parent
    url = STORE if delivery.store is None else _absolute(delivery.store)
    named = delivery.name or re.sub(r"[^\w.-]+", "-", "-".join(words)).strip("-.")
    book = Book(folder, url, named, objectives(task, latency), about)
    return book if delivery.name else book.free()


def _absolute(url: str) -> str:
    """An address that means the same from everywhere: files are named from the working folder."""
    kind, mark, path = url.partition("sqlite:///")
    if kind or not mark:
        return url
    place = Path(path).resolve()
    if not place.parent.is_dir():
        raise InvalidStudy(
            f"--store {url}: there is no folder {place.parent}; make it, or name another place"
        )
    return f"{mark}{place}"


def _there(delivery: Delivery, run: Mapping[str, Any]) -> Bundle | None:
    """A whole bundle of the same run with all formats; None where there is none, or it is to be made again."""
    if delivery.overwrite or not (delivery.folder / PLAN).is_file():
        return None
    try:
        bundle = check_bundle(delivery.folder)
    except ExportError:
        return None
    same = _card(bundle).get("pruned", {}).get("run") == json.loads(json.dumps(run))
    return bundle if same and set(delivery.formats) <= bundle.drift.keys() else None


def _found(bundle: Bundle, run: Mapping[str, Any], book: Book) -> Pruned:
    """What was made before; its row is written where a process died before it could."""
    plan = Plan.from_json(json.loads((bundle.folder / PLAN).read_text(encoding="utf-8")))
    trial = book.number(_arch(plan, run))
    if trial is None:
        book.check()
        trial = _written(bundle, plan, run, book)
    return Pruned(bundle, _card(bundle), plan, book.page, trial, fresh=False)


def _exported(work: Work, made: Made, run: Mapping[str, Any], delivery: Delivery) -> Bundle:
    data, samples = work.data, work.samples
    return export_network(
        made.module,
        delivery.folder,
        formats=delivery.formats,
        inputs=samples,
        targets=made.module(samples).detach() if data is None else data.validation.targets,
        task=AGREEMENT if data is None else data.task,
        card=card_of(work, made, run),
        documents={PLAN: json.dumps(made.plan.as_json(), indent=1) + "\n"},
        overwrite=delivery.overwrite,
    )


def _written(bundle: Bundle, plan: Plan, run: Mapping[str, Any], book: Book) -> int:
    """Write the row; its values are those of the card."""
    rows = evaluations(_card(bundle), run)
    values = {row.metric: row.value for row in rows}
    outcome = Outcome("complete", [float(values[name] or 0) for name in book.objectives], evaluations=rows)
    content = file_hash(bundle.folder / "card.json")
    return book.write(_arch(plan, run), outcome, (bundle.folder, content), run)


def _arch(plan: Plan, run: Mapping[str, Any]) -> Arch:
    widths = {group.name: group.after for group in plan.groups}
    return architecture(widths, {"score": plan.score, "target": plan.target, "id": json_hash(run)[:12]})


def _card(bundle: Bundle) -> dict[str, Any]:
    card: dict[str, Any] = json.loads((bundle.folder / "card.json").read_text(encoding="utf-8"))
    return card
