"""Scores of architectures without training: computed once, kept with reasons, compared by aggregates."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nasplat import Study, score
from nasplat.errors import InvalidStudy, NasplatError
from nasplat.study import scorer, scores
from nasplat.study.module import Batch, score_module
from nasplat.study.run import Silence

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
    monkeypatch.setattr(scorer, "score", lambda *_, **__: pytest.fail("a stored score was computed again"))
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


def test_a_trial_computes_only_the_scores_that_the_store_lacks(
    write_study: WriteStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest = '[filter]\nscores = ["synflow", "nwot", "snip"]\nkeep = 0.99\n'
    study = write_study(DATA + rest, study="trials = 3")
    study.scores(["synflow", "snip"], samples=10**6)  # the whole space
    asked: list[list[str]] = []

    def noted(network: nn.Module, inputs: Tensor, labels: Tensor, names: Any, **seed: int) -> Any:
        asked.append([entry.name for entry in names])
        return score(network, inputs, labels, names, seed=seed["seed"])

    monkeypatch.setattr("nasplat.metric.candidate.score", noted)
    study.run()
    assert asked == [["nwot"]] * 3
    once = write_study(DATA + rest, study="trials = 3", folder="once")
    once.run()
    assert asked[3:] == [["synflow", "nwot", "snip"]] * 3
    columns = ["arch_key", "score:synflow", "score:nwot", "score:snip"]
    assert study.frame[columns].equals(once.frame[columns])


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


def test_several_workers_find_the_numbers_of_one_whoever_scores_what(write_study: WriteStudy) -> None:
    names = ["synflow", "nwot", "grad_norm"]
    alone = write_study(DATA, folder="alone").scores(names, samples=12)
    lines: list[tuple[int, int]] = []
    study = write_study(DATA)
    study.scores(["synflow"], samples=3)
    together = study.scores(names, samples=12, workers=2, watcher=Counting(lines))
    assert together.equals(alone)
    assert lines == [(done, 12) for done in range(1, 13)]


class Counting(Silence):
    """Notes how far the work is."""

    def __init__(self, lines: list[tuple[int, int]]) -> None:
        self.lines = lines

    def trial(self, done: int, total: int, line: str) -> None:
        self.lines.append((done, total))


DEADLY = """
import os
from pathlib import Path

from torch import nn

from nasplat import Space, ordinal

ARMED = Path(__file__).with_name("armed")


def build_or_die(arch):
    if arch["a"] == 9 and ARMED.exists():
        os._exit(7)
    return nn.Sequential(nn.Linear(4, 8 * arch["a"]), nn.ReLU(), nn.Linear(8 * arch["a"], 2))


def space():
    return Space("deadly", [ordinal("a", range(1, 10))], build=build_or_die, input_shape=(4,))
"""


def test_what_was_scored_before_a_worker_died_is_kept(
    write_study: WriteStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = write_study(DATA, space='name = "deadly.py:space"')
    (study.folder / "deadly.py").write_text(DEADLY)
    (study.folder / "armed").touch()
    with pytest.raises(NasplatError, match="a worker process ended with exit code 7; what was done is kept"):
        study.scores(["synflow"], samples=9, workers=2)
    (study.folder / "armed").unlink()
    scored: list[str] = []

    def noted(network: nn.Module, inputs: Tensor, labels: Tensor, names: Any, **seed: int) -> Any:
        scored.append(str(network))
        return score(network, inputs, labels, names, seed=seed["seed"])

    monkeypatch.setattr(scorer, "score", noted)
    assert study.scores(["synflow"], samples=9)["synflow"].notna().all()
    assert 1 <= len(scored) <= 2  # the deadly one, and what the other worker had in its hands


def test_numbers_of_a_gpu_are_others_and_of_the_same_ranks(write_study: WriteStudy) -> None:
    if not torch.cuda.is_available():
        pytest.skip("torch sees no GPU here")
    study = write_study(DATA)
    names = ["synflow", "nwot", "grad_norm"]
    here = study.scores(names, samples=12)
    there = study.scores(names, samples=12, device="cuda:0", workers=2)
    again = write_study(DATA, folder="again").scores(names, samples=12, device="cuda:0")
    assert there.equals(again)
    np.testing.assert_allclose(there[names], here[names], rtol=1e-3)
    space = study.record.space
    assert space is not None
    known = study.store.evaluations(space.hash, metric="score:synflow")
    assert sum("device" in record.origin for record in known) == len(known) / 2


@pytest.mark.parametrize(
    ("wanted", "line"),
    [
        ({"workers": 0}, "workers = 0: expected at least 1 process"),
        ({"device": "tpu"}, "device 'tpu' is unknown; choose 'cpu', 'cuda', 'cuda:0' or 'auto'"),
        ({"device": "cuda:99"}, "device 'cuda:99' is not here"),
    ],
)
def test_a_place_that_is_not_there_is_refused(
    write_study: WriteStudy, wanted: dict[str, Any], line: str
) -> None:
    with pytest.raises(NasplatError, match=line):
        write_study(DATA).scores(["synflow"], samples=2, **wanted)


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
