"""Columns against what they say they are."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nasplat.errors import NasplatError
from nasplat.prediction import Sample
from nasplat.prediction.features import Features
from nasplat.space import Arch, ArchGraph


def chain(*operations: str) -> ArchGraph:
    words = ("input", *operations, "output")
    return ArchGraph(words, tuple((i, i + 1) for i in range(len(words) - 1)))


def sample(number: float, *operations: str, **scores: float) -> Sample:
    return Sample(Arch({"x": number}), np.array([number, 1.0], np.float32), chain(*operations), scores)


SAMPLES = [sample(1, "a", "b", s=10.0), sample(2, "a", s=-5.0), sample(6, "b", "a", s=np.nan)]


def test_blocks_are_those_of_the_inputs() -> None:
    assert set(Features(["encoding"]).fit(SAMPLES).blocks(SAMPLES)) == {"encoding"}
    assert set(Features(["graph"]).fit(SAMPLES).blocks(SAMPLES)) == {"paths", "routes", "turns"}
    assert set(Features(["scores"]).fit(SAMPLES).blocks(SAMPLES)) == {"scores"}


def test_without_inputs_graphs_and_scores_are_read_where_there_are_some() -> None:
    bare = [Sample(s.arch, s.encoding) for s in SAMPLES]
    assert set(Features().fit(SAMPLES).columns) == {"graph", "scores"}
    assert set(Features().fit(bare).columns) == {"encoding"}


def test_encodings_are_standardised_and_constant_columns_are_zero() -> None:
    table = Features(["encoding"]).fit(SAMPLES).table(SAMPLES)
    np.testing.assert_allclose(table.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(table.std(0), [1, 0])


def test_paths_are_logarithms_of_counts() -> None:
    features = Features(["graph"]).fit(SAMPLES)
    assert features.columns["graph"]["words"] == [["a"], ["a", "b"], ["b", "a"]]
    np.testing.assert_allclose(features.blocks(SAMPLES)["paths"], np.log(2) * np.eye(3)[[1, 0, 2]])


def test_scores_count_by_their_order_only() -> None:
    bent = [Sample(s.arch, s.encoding, s.graph, {"s": s.scores["s"] ** 3}) for s in SAMPLES]
    straight, curved = (Features(["scores"]).fit(given).table(given) for given in (SAMPLES, bent))
    np.testing.assert_allclose(straight, curved)


def test_a_score_without_a_value_is_last_and_marked() -> None:
    table = Features(["scores"]).fit(SAMPLES).table(SAMPLES)
    assert table[2, 0] < table[1, 0] < table[0, 0]
    assert table[:, 1].tolist() == [0, 0, 1]


def test_scores_that_no_sample_lacks_have_no_mark() -> None:
    features = Features(["scores"]).fit(SAMPLES[:2])
    assert features.table(SAMPLES).shape == (3, 1)


@pytest.mark.parametrize("inputs", [["encoding"], ["graph"], ["scores"], None])
def test_what_was_learned_goes_through_json(inputs: list[str] | None) -> None:
    features = Features(inputs).fit(SAMPLES)  # type: ignore[arg-type]
    arrays, rest = features.state()
    again = Features().restore(arrays, json.loads(json.dumps(rest)))
    np.testing.assert_array_equal(again.table(SAMPLES), features.table(SAMPLES))


def test_samples_of_another_kind_are_refused() -> None:
    features = Features(["encoding", "graph", "scores"]).fit(SAMPLES)
    good = SAMPLES[0]
    wide = Sample(good.arch, np.ones(3, np.float32), good.graph, good.scores)
    strange = Sample(good.arch, good.encoding, chain("gat", "gcn"), good.scores)
    for wrong, reason in [
        (wide, "an encoding of 3 numbers"),
        (Sample(good.arch, good.encoding, None, good.scores), "the space gives no graphs"),
        (strange, "a graph of gat, gcn, but the predictor learned from a, b"),
        (Sample(good.arch, good.encoding, good.graph), "has no score 's'"),
    ]:
        for company in ([], SAMPLES):
            with pytest.raises(NasplatError, match=reason):
                features.table([*company, wrong])


def test_inputs_that_no_sample_has_are_refused() -> None:
    bare = [Sample(s.arch, s.encoding) for s in SAMPLES]
    with pytest.raises(NasplatError, match="no scores, which the predictor reads"):
        Features(["scores"]).fit(bare)
    with pytest.raises(NasplatError, match="no graphs, which the predictor reads"):
        Features(["graph"]).fit(bare)
