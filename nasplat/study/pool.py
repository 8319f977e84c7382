"""A pool of known devices: learned from the columns of a table, and where a predictor of a new device begins."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nasplat.errors import InvalidStudy, NasplatError
from nasplat.metric import versions
from nasplat.prediction import Card, Predictor, describe, load_predictor, save_predictor
from nasplat.prediction.card import find_trained
from nasplat.prediction.making import make_predictor
from nasplat.prediction.transfer import Measured, Transfer
from nasplat.study.assembly import assemble
from nasplat.study.folder import StudyFolder
from nasplat.study.provenance import commit_of, fit_command
from nasplat.table import Table, open_table

if TYPE_CHECKING:
    from nasplat.space import Space
    from nasplat.study.fit import Order

PLUG_IN = "latency_transfer"
WAY = "give --pool: a folder that `nasplat fit pool` wrote, or the name of a pool that nasplat ships"

SAMPLES = 10
"""Networks that a new device is learned from, as in HELP (arXiv:2106.08630)."""


@dataclass(frozen=True, slots=True)
class PoolOrder:
    """What to learn a pool from: columns of a table, one for each device, as names or patterns such as "1080ti_*".

    table: a published one by name, or the path of a CSV or Parquet file. key: the key column of a file of one's own.
    labels: latencies of each device that are learned from at most, drawn at random; 900 are those of HELP
    (arXiv:2106.08630). arguments: of the predictor `latency_transfer`.
    """

    table: str
    devices: tuple[str, ...]
    key: str | None = None
    labels: int = 900
    arguments: Mapping[str, Any] = field(default_factory=dict)


def fit_pool(study: StudyFolder, order: PoolOrder, folder: Path) -> Card:
    """Learn known devices of the study's space from a table and write them, with a card, to a folder.

    Networks without a path from input to output are left out, and for each device those that it has no number of.
    Figures: `devices`, and from three on `spearman_10`, the mean over all devices of the rank correlation of a
    predictor that has ten random networks of a device and a pool of all others, kin of the device included.
    InvalidStudy or DataError in one line for a table or a column that is not there, or of another space.
    """
    space, table = assemble(study).bench.space, open_table(order.table, key=order.key)
    columns = _columns(table, order.devices)
    pool = _measured(table, columns, space, order.labels)
    predictor = make_predictor(PLUG_IN, order.arguments)
    assert isinstance(predictor, Transfer)  # ours
    predictor.pretrain(pool)
    every = np.concatenate([np.asarray(y) for _, y in pool.values()])
    card = Card(
        plug_in=PLUG_IN,
        space=space.name,
        space_hash=space.hash,
        metric="latency",
        unit="ms",
        direction="minimize",
        data=f"table:{order.table}",
        labels=len(every),
        low=float(every.min()),
        high=float(every.max()),
        command=fit_command("pool", study.path, _options(order), folder),
        commit=commit_of(),
        versions=dict(versions()),
        figures={"devices": float(len(pool))},
        device=", ".join(columns),
    )
    if len(pool) > 2:
        card = replace(card, figures={**card.figures, "spearman_10": _spearman_of_new(predictor, pool)})
    save_predictor(predictor, card, folder)
    return card


def beginner(order: Order, space: Space) -> Predictor:
    """The predictor of an order before it learns: with its pool of known devices, where it has to have one.

    InvalidStudy for a pool that is none, of another predictor or of another space, and for one that is missing.
    """
    if order.pool is None:
        made = make_predictor(order.plug_in, order.arguments)
        if isinstance(made, Transfer):
            raise InvalidStudy(f"predictor {order.plug_in!r} begins with a pool of known devices: {WAY}")
        return made
    predictor, card = load_predictor(find_trained(order.pool))
    if not isinstance(predictor, Transfer):
        raise InvalidStudy(f"{order.pool} holds a {card.plug_in}, which is no pool of known devices: {WAY}")
    if card.plug_in != order.plug_in:
        raise InvalidStudy(
            f"{order.pool} is a pool for predictor {card.plug_in!r}, not for {order.plug_in!r}"
        )
    if order.arguments and dict(order.arguments) != predictor.arguments:
        raise InvalidStudy(f"pool {order.pool} was learned with {predictor.arguments}: leave --arguments out")
    if card.space_hash != space.hash:
        raise InvalidStudy(
            f"pool {order.pool} is of space {card.space!r} ({card.space_hash[:8]}), but the study's is "
            f"{space.name!r} ({space.hash[:8]}): learn one for it (nasplat fit pool), or use that space"
        )
    return predictor


def _columns(table: Table, patterns: Sequence[str]) -> list[str]:
    """The columns that names and patterns stand for, in their order."""
    found: dict[str, None] = {}
    for pattern in patterns:
        matching = [name for name in table.facts if fnmatchcase(name, pattern)]
        if not matching:
            table.column(pattern)  # says what there is
        found |= dict.fromkeys(matching)
    return list(found)


def _measured(table: Table, columns: Sequence[str], space: Space, most: int) -> dict[str, Measured]:
    """Samples and milliseconds for each device, at most so many."""
    samples = describe(space, table.archs(space))
    alive = np.array([sample.graph is None or bool(sample.graph.edges) for sample in samples])
    pool: dict[str, Measured] = {}
    for name in columns:
        y = table.numbers(name)
        there = np.random.default_rng(0).permutation(np.flatnonzero(alive & np.isfinite(y)))[:most]
        try:
            pool[name] = [samples[i] for i in there], _positive(y[there])
        except NasplatError as error:
            raise InvalidStudy(f"column {name!r} of table {table.name!r} {error}") from None
    return pool


def _positive(y: NDArray[np.float64]) -> NDArray[np.float64]:
    if len(y) < 2:
        raise NasplatError(f"has {len(y)} numbers; expected at least 2")
    if y.min() <= 0:
        raise NasplatError(
            f"holds {y.min():g}, which is no latency: expected numbers above 0, or empty cells"
        )
    return y


def _spearman_of_new(predictor: Transfer, pool: dict[str, Measured]) -> float:
    """The mean rank correlation where each device in turn is new: on networks that it was not learned from."""
    from scipy.stats import spearmanr

    found = []
    for device, (samples, numbers) in pool.items():
        y = np.asarray(numbers)
        order = np.random.default_rng(0).permutation(len(samples))
        seen, asked = order[:SAMPLES], order[SAMPLES:]
        if len(asked) < 2:
            return float("nan")
        new = predictor.without([device]).fit([samples[i] for i in seen], y[seen])
        found.append(spearmanr(new.predict([samples[i] for i in asked]).mean, y[asked]).statistic)
    return float(np.mean(found))


def _options(order: PoolOrder) -> list[str]:
    key = [] if order.key is None else ["--key", order.key]
    arguments = ["--arguments", json.dumps(dict(order.arguments))] if order.arguments else []
    devices, labels = ",".join(order.devices), str(order.labels)
    return ["--table", order.table, *key, "--devices", devices, "--labels", labels, *arguments]
