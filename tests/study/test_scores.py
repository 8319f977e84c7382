"""Scores of architectures without training: computed once, kept with reasons, compared by aggregates."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from nasplat import Study, score
from nasplat.errors import InvalidStudy, NasplatError
from nasplat.study import scores
from nasplat.study.module import Batch, score_module

WriteStudy = Callable[..., Study]
DATA = '[data]\nname = "toy.py:parity"\n'


def test_each_number_is_the_score_of_the_network_with_the_weights_of_the_seed(
    write_study: WriteStudy,
) -> None:
    study = write_study(DATA)
    frame = study.scores(["synflow", "nwot"], samples=4, batch=16)
    from nasplat.study.assembly import assemble

    bench = assemble(study).bench
    archs = {arch.key: arch for arch in bench.space.enumerate()}
    train = bench.need_data("nwot").train
    for row in frame.to_dict("records"):
        network = bench.space.build(archs[row["arch_key"]], bench.seed)
        alone = score(network, train.inputs[:16], train.targets[:16], ["synflow", "nwot"], seed=bench.seed)
        assert row["synflow"] == alone["synflow"].value
        assert row["nwot"] == alone["nwot"].value
        assert row["name"] == bench.space.notation.spell(archs[row["arch_key"]])


def test_what_is_stored_is_not_computed_again(
    write_study: WriteStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = write_study(DATA)
    first = study.scores(["synflow"], samples=5)
    monkeypatch.setattr(scores, "score", lambda *_, **__: pytest.fail("a stored score was computed again"))
    assert study.scores(["synflow"], samples=5).equals(first)


def test_a_study_finds_the_scores_among_its_own_numbers(
    write_study: WriteStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = {"objective": 'metric = "score:synflow"'}
    study = write_study(DATA, study="trials = 3", **page)
    frame = study.scores(["synflow"], samples=10**6)  # the whole space
    assert len(frame) == 6 * 6 * 2 + 6 * 6 * 4
    monkeypatch.setattr("nasplat.metric.candidate.score", lambda *_, **__: pytest.fail("computed again"))
    study.run()
    known = frame.set_index("arch_key")["synflow"]
    assert study.frame.set_index("arch_key")["score:synflow"].to_dict().items() <= known.to_dict().items()


def test_a_score_without_a_value_is_kept_with_its_reason(write_study: WriteStudy) -> None:
    study = write_study(DATA, space='name = "toy.py:NARROW"')
    for _ in range(2):  # computed, then read
        frame = study.scores(["nwot", "synflow"], samples=60)
        failed = frame[frame["nwot"].isna()]
        assert 0 < len(failed) < len(frame)
        assert failed["reasons"].str.startswith("nwot: the kernel is singular").all()
        assert (frame[frame["nwot"].notna()]["reasons"] == "").all()
        assert frame["synflow"].notna().all()


def test_the_trials_of_a_study_can_be_scored(write_study: WriteStudy) -> None:
    study = write_study(DATA)
    with pytest.raises(InvalidStudy, match="no trial yet"):
        study.scores(["synflow"], of_trials=True)
    study.run(5)
    assert set(study.scores(["synflow"], of_trials=True)["arch_key"]) == set(study.frame["arch_key"])


def test_a_score_under_two_names_counts_once_in_an_aggregate() -> None:
    assert set(scores.directions(["az_complexity", "synflow", "macs"])) == {"macs", "synflow"}
    assert scores.directions(["macs", "ntk"]) == {"macs": "maximize", "ntk": "minimize"}


def test_a_study_without_data_says_what_it_lacks(write_study: WriteStudy) -> None:
    with pytest.raises(InvalidStudy, match=r"needs data; add a \[data\] table"):
        write_study().scores(["nwot"], samples=2)


def test_scores_that_see_only_shapes_need_no_data(write_study: WriteStudy) -> None:
    names = ["params", "macs", "l2_norm", "synflow"]
    known = write_study(DATA, folder="with").scores(names, samples=3)
    frame = write_study().scores(names, samples=3)
    assert frame.equals(known)
    assert frame[names].notna().all().all()


def test_a_module_is_scored_on_the_batch_that_its_shape_names() -> None:
    batch = Batch(shape=(4,), classes=2, size=16)
    frame = score_module("torch.nn:Identity", ["synflow", "nwot"], batch).set_index("score")
    assert frame.loc["synflow", "status"] == "not_applicable"
    assert math.isnan(frame.loc["nwot", "value"])
    inputs, labels = batch.draw()
    assert inputs.shape == (16, 4)
    assert set(labels.tolist()) == {0, 1}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("torch.nn:Linear", r"torch.nn:Linear\(\) cannot be called"),
        ("math:pi", "math:pi is a float: expected an nn.Module"),
        ("math:tau2", "math has no 'tau2'"),
    ],
)
def test_what_is_no_module_is_refused_in_one_line(spec: str, message: str) -> None:
    with pytest.raises(NasplatError, match=message):
        score_module(spec, ["synflow"], Batch())


def test_making_a_module_moves_no_random_draw() -> None:
    state = torch.random.get_rng_state()
    score_module("torch.nn:Identity", ["synflow"], Batch(shape=(4,)))
    assert torch.equal(state, torch.random.get_rng_state())
