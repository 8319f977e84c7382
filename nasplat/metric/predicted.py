"""What a trained predictor says of an architecture, as a metric."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

from nasplat.errors import NasplatError
from nasplat.files import file_hash
from nasplat.metric.candidate import Candidate, Workbench, versions
from nasplat.metric.measurement import Cost, Measurement, Metric
from nasplat.metric.source import passes_hash, source_hash
from nasplat.prediction import Card, Sample, describe, graphs_for, load_predictor
from nasplat.prediction.card import ARRAYS, CARD, find_trained
from nasplat.prediction.columns import QUARTILES
from nasplat.prediction.transfer import Transfer
from nasplat.scoring import load_scores

PREFIX = "predicted:"


def predicted_metric(bench: Workbench, name: str, base: Path | None) -> Metric:
    """The mean that a trained predictor gives; NAME is its folder, or the name of one that nasplat ships.

    Its card has to be of the study's space. Scores that it reads are computed on the study's data, which have to be
    those of the card, of the untrained network. `spread` is the inter-quartile range of a normal distribution with the
    predicted standard deviation.
    """
    folder = find_trained(name.removeprefix(PREFIX), base)
    predictor, card = load_predictor(folder)
    card.check(bench.space)
    if isinstance(predictor, Transfer) and not predictor.is_fitted:
        raise NasplatError(
            f"{name!r} is a pool of known devices: measure some networks on yours, and name what "
            "`nasplat fit predictor --pool` makes of them"
        )
    known = {score.name: score for score in load_scores(card.scores, base)}
    if known:
        _check_data(bench, name, card)
        bench.scores.setdefault(card.batch, {}).update(known)

    def measure(candidate: Candidate) -> Measurement:
        sample = _described(candidate, card, predictor.needs)
        start = perf_counter()
        found = predictor.predict([sample])
        spread = QUARTILES * float(found.std[0])
        return Measurement(float(found.mean[0]), perf_counter() - start, spread)

    origin = {
        "protocol": "predictor",
        "weights": file_hash(folder / ARRAYS),
        "card": file_hash(folder / CARD),
        "scores": {name: source_hash(score.function) for name, score in known.items()},
        "passes": passes_hash() if known else None,
        "seed": bench.seed if known else None,
        "data": bench.data.identity if known and bench.data is not None else None,
        **versions(),
    }
    return Metric(name, card.unit, card.direction, Cost.SCORE if known else Cost.COUNT, origin, measure)


def _check_data(bench: Workbench, name: str, card: Card) -> None:
    """Raise NasplatError where scores would be computed on other data than those that were learned from."""
    bench.need_data(name)
    if bench.data is not None and bench.data.name != card.data:
        raise NasplatError(
            f"{name!r} reads scores on data {card.data!r}, but this study has {bench.data.name!r}: "
            "give that [data], or fit a predictor here (nasplat fit predictor)"
        )


def _described(candidate: Candidate, card: Card, needs: frozenset[str]) -> Sample:
    """The candidate as the predictor sees it."""
    arch, space = candidate.arch, candidate.bench.space
    graphs = graphs_for(needs, space)
    if not card.scores:
        return describe(space, [arch], graphs=graphs)[0]
    found = candidate.scored(card.batch, card.scores)
    values = {name: found[name].value for name in card.scores}
    layers = {name: found[name].per_module for name in card.scores}
    return describe(space, [arch], {arch.key: values}, {arch.key: layers}, graphs)[0]
