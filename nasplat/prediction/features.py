"""Samples as columns of numbers, for predictors that read tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nasplat.errors import NasplatError
from nasplat.prediction.normal import NormalScores, map_in, state_of
from nasplat.prediction.paths import path_counts
from nasplat.prediction.routes import TRANSPARENT, letter_sets, letters_of, route_numbers
from nasplat.prediction.sample import Sample
from nasplat.space import ArchGraph

Input: TypeAlias = Literal["encoding", "graph", "scores"]
Table: TypeAlias = NDArray[np.float64]
Columns: TypeAlias = dict[str, Any]
"""What tells which columns there are, as JSON: the width of the encoding, letters and words, names of scores."""

LONGEST, WORDS = 6, 256
"""Words of paths have at most so many letters; so many words, the most frequent ones, have a column."""


class Features:
    """Blocks of columns that are fitted on training samples; other samples must be of their kind.

    inputs: the fields of a sample to read; without any, scores and graphs where samples have them, else encodings.
    Blocks: `encoding`, standardised; from graphs `paths`, log(1 + count) of each word, and `routes` and `turns` (see
    `route_numbers`), standardised; `scores`, as normal scores of the training samples, a missing one below all
    others, and a column of 0 and 1 for each score that training samples miss. Missing is a score that is NaN; a sample
    that does not name it was not scored, and is refused.
    """

    def __init__(self, inputs: Sequence[Input] | None = None) -> None:
        self.inputs = inputs
        self.columns: Columns = {}
        self._scales: dict[str, Table] = {}  # block -> (2, columns): mean and deviation
        self._maps: dict[str, NormalScores] = {}  # score -> its normal scores

    @property
    def needs(self) -> frozenset[str]:
        """The fields of a sample that may be read."""
        return frozenset(self.inputs or LEARN)

    def fit(self, samples: Sequence[Sample]) -> Self:
        """Learn columns and scales; NasplatError for samples that lack an input."""
        self.columns = {name: LEARN[name](samples) for name in self.inputs or _found(samples)}
        raw = self._raw(samples)
        self._maps = {}
        for name, values in zip(
            self.columns.get("scores", {}), raw.pop("scores", np.empty((0, 0))).T, strict=True
        ):
            self._maps[name] = NormalScores.of(values[np.isfinite(values)])
            self.columns["scores"][name] = not np.isfinite(values).all()
        self._scales = {block: _scale(table) for block, table in raw.items() if block != "paths"}
        return self

    def blocks(self, samples: Sequence[Sample]) -> dict[str, Table]:
        """The columns of samples (n, columns) by block; NasplatError for samples of another kind."""
        tables = self._raw(samples)
        for block, (mean, deviation) in self._scales.items():
            tables[block] = (tables[block] - mean) / deviation
        if "scores" in tables:
            tables["scores"] = self._scores(tables["scores"])
        return tables

    def table(self, samples: Sequence[Sample]) -> Table:
        """All columns side by side (n, columns)."""
        return np.concatenate(list(self.blocks(samples).values()), axis=1)

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """All that was learned: arrays by name, and the rest as JSON."""
        return {f"{b}.scale": s for b, s in self._scales.items()} | state_of(self._maps), dict(self.columns)

    def restore(self, arrays: Mapping[str, NDArray[Any]], rest: Mapping[str, Any]) -> Self:
        """Take over what `state` gave."""
        self.columns = dict(rest)
        ends = ".scale"
        self._scales = {name.removesuffix(ends): a for name, a in arrays.items() if name.endswith(ends)}
        self._maps = {name: map_in(arrays, name) for name in self.columns.get("scores", {})}
        return self

    def _raw(self, samples: Sequence[Sample]) -> dict[str, Table]:
        tables: dict[str, Table] = {}
        for name, columns in self.columns.items():
            tables |= READ[name](samples, columns)
        return tables

    def _scores(self, raw: Table) -> Table:
        """Normal scores; a missing one is half a step below the lowest."""
        found = []
        for values, (name, gaps) in zip(raw.T, self.columns["scores"].items(), strict=True):
            known, known_map = np.isfinite(values), self._maps[name]
            lowest = known_map.scores[0] if len(known_map.scores) else 0.0
            found.append(np.where(known, known_map.scores_of(np.where(known, values, 0.0)), lowest - 0.5))
            if gaps:
                found.append(np.where(known, 0.0, 1.0))
        return np.stack(found, axis=1)


def _found(samples: Sequence[Sample]) -> list[str]:
    """The inputs that these samples have."""
    graphs = all(sample.graph is not None for sample in samples)
    scores = all(sample.scores for sample in samples)
    return ["graph" if graphs else "encoding", *(["scores"] if scores else [])]


def _scale(table: Table) -> Table:
    """Mean and deviation of columns (2, columns); constant columns have deviation 1."""
    deviation = table.std(0)
    return np.stack([table.mean(0), np.where(deviation > 1e-12, deviation, 1.0)])


def _learn_encoding(samples: Sequence[Sample]) -> int:
    return len(samples[0].encoding)


def _read_encoding(samples: Sequence[Sample], width: int) -> dict[str, Table]:
    for sample in samples:
        if len(sample.encoding) != width:
            raise NasplatError(
                f"an encoding of {len(sample.encoding)} numbers, but the predictor learned from {width}: "
                "ask for architectures of the space that it was trained on"
            )
    return {"encoding": np.array([sample.encoding for sample in samples], np.float64).reshape(-1, width)}


def _learn_graphs(samples: Sequence[Sample]) -> Columns:
    graphs = _graphs(samples)
    seen = Counter(word for graph in graphs for word in _words(graph))
    words = sorted(seen, key=lambda word: (-seen[word], word))[:WORDS]
    return {"letters": letters_of(graphs), "words": [list(word) for word in sorted(words)]}


def _read_graphs(samples: Sequence[Sample], columns: Columns) -> dict[str, Table]:
    graphs, letters = _graphs(samples), columns["letters"]
    for graph in graphs:
        own = letters_of([graph])
        if own and {*letters}.isdisjoint(own):
            raise NasplatError(
                f"a graph of {', '.join(own)}, but the predictor learned from {', '.join(letters)}: "
                "ask for architectures of the space that it was trained on"
            )
    words, sets = [tuple(word) for word in columns["words"]], letter_sets(letters)
    counts = [_words(graph) for graph in graphs]
    routes, turns = [], []
    for graph in graphs:
        along, turning = route_numbers(graph, letters, sets)
        routes.append(along)
        turns.append(turning)
    n = len(graphs)
    return {
        "paths": np.log1p(
            np.array([[c.get(w, 0) for w in words] for c in counts], np.float64).reshape(n, -1)
        ),
        "routes": np.array(routes).reshape(n, 1 + 3 * len(sets)),
        "turns": np.array(turns).reshape(n, len(letters) ** 2),
    }


def _graphs(samples: Sequence[Sample]) -> list[ArchGraph]:
    found = [sample.graph for sample in samples if sample.graph is not None]
    if len(found) < len(samples):
        raise NasplatError(
            'the space gives no graphs, which the predictor reads: give it inputs = ["encoding"]'
        )
    return found


def _words(graph: ArchGraph) -> Mapping[tuple[str, ...], int]:
    return path_counts(graph, LONGEST, transparent=TRANSPARENT)


def _learn_scores(samples: Sequence[Sample]) -> dict[str, bool]:
    """The scores that any sample has, with room for whether one of them has no value."""
    names = sorted({name for sample in samples for name in sample.scores})
    if not names:
        raise NasplatError("the samples have no scores, which the predictor reads: compute some first")
    return dict.fromkeys(names, False)


def _read_scores(samples: Sequence[Sample], names: Mapping[str, bool]) -> dict[str, Table]:
    for sample in samples:
        missing = [name for name in names if name not in sample.scores]
        if missing:
            raise NasplatError(
                f"architecture {sample.arch.key} has no score {missing[0]!r}, which others had that the predictor "
                "learned from: compute it"
            )
    rows = [[s.scores.get(name, np.nan) for name in names] for s in samples]
    return {"scores": np.array(rows, np.float64).reshape(len(samples), len(names))}


LEARN: dict[str, Callable[[Sequence[Sample]], Any]] = {
    "encoding": _learn_encoding,
    "graph": _learn_graphs,
    "scores": _learn_scores,
}
READ: dict[str, Callable[[Sequence[Sample], Any], dict[str, Table]]] = {
    "encoding": _read_encoding,
    "graph": _read_graphs,
    "scores": _read_scores,
}
