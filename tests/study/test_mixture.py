"""Studies whose supernets share weights by a mixture: from the page to the exported network."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from nasplat import NasplatError, Study, load_bundle, open_study
from nasplat.elastic.weights import memory
from nasplat.errors import InvalidStudy
from nasplat.files import json_hash
from nasplat.study import method
from nasplat.study.assembly import assemble
from nasplat.study.forecast import forecast
from nasplat.study.profile import profile, training_in_effect
from nasplat.supernet import Settings
from nasplat.supernet.mixtures import MIXTURES

WriteStudy = Callable[..., Study]
SPACE = 'name = "elastic_convnet"\nstages = 1\ndepth = [1, 2]\nwidth = [2, 4]\nkernel = [1, 3]'
PARTS = {"space": SPACE, "objective": 'metric = "accuracy"', "study": "trials = 2"}
REST = '[data]\nname = "toy.py:images"\n[supernet]\nepochs = 1\nbatch_size = 32\n'
DEALT = 'mixture = {kind = "dealt", experts = 2}\n'
MOE = 'mixture = {kind = "moe", experts = 2, per = "neuron"}\n'
BALANCED = 'mixture = {kind = "balanced", experts = 2, shared = 0.3}\n'
TRAINED = [DEALT, MOE, BALANCED]
"""Mixtures that are taken through everything that a study does."""


def origin(study: Study) -> dict[str, Any]:
    assembly = assemble(study)
    assert assembly.training is not None
    return assembly.training.origin(assembly.bench)


def question(study: Study) -> dict[str, Any]:
    assembly = assemble(study)
    assert assembly.training is not None
    return assembly.training.question(assembly.bench)


class Lines:
    """A watcher that keeps what is said, and presses Ctrl-C once after a step of a training, if one is named."""

    def __init__(self, press_after: int | None = None) -> None:
        self.said: list[str] = []
        self.press_after = press_after

    def say(self, line: str) -> None:
        self.said.append(line)

    def training(self, done: int, total: int, figures: object) -> None:
        if done == self.press_after:
            os.kill(os.getpid(), signal.SIGINT)

    def trial(self, done: int, total: int, line: str) -> None:
        pass


def test_supernet_without_a_mixture_keeps_the_origin_that_it_had_before_there_were_any(
    write_study: WriteStudy,
) -> None:
    told = origin(write_study(REST, **PARTS))
    assert set(told) == {"method", "recipe", "space", "data", "seed", "execution"}
    named = write_study(REST + 'mixture = {kind = "slice"}', **PARTS)
    assert json_hash(origin(named)) == json_hash(told)
    assert "mixture" not in question(named)


def test_mixture_is_part_of_origin_and_question_with_all_its_defaults(write_study: WriteStudy) -> None:
    study = write_study(REST + 'mixture = {kind = "dealt"}', **PARTS)
    whole = {"kind": "dealt", "experts": 2, "seed": 0, "layers": ("*",)}
    assert origin(study)["mixture"] == question(study)["mixture"] == whole
    written = write_study(REST + 'mixture = {kind = "dealt", layers = ["*"], seed = 0, experts = 2}', **PARTS)
    assert json_hash(origin(written)) == json_hash(origin(study))


def test_another_mixture_is_another_supernet_and_another_question(write_study: WriteStudy) -> None:
    study = write_study(REST + DEALT, **PARTS)
    hashes = {json_hash(origin(study)), json_hash(origin(write_study(REST, **PARTS)))}
    other = write_study(REST + DEALT.replace("2", "3"), **PARTS)
    assert len(hashes | {json_hash(origin(other))}) == 3
    write_study(REST + DEALT, **PARTS).run(1)
    with pytest.raises(NasplatError, match=r"supernet\.mixture\.experts = 2, now it is 3"):
        write_study(REST + DEALT.replace("2", "3"), **PARTS).run(2)
    with pytest.raises(NasplatError, match=r"supernet\.mixture = \{.*'dealt'.*\}, now it is None"):
        write_study(REST, **PARTS).run(2)


@pytest.mark.parametrize(
    ("mixture", "line"),
    [
        ('{kind = "dealed"}', r"\[supernet\] .*'dealed' .*is unknown; did you mean 'dealt'\? known: "),
        ("{kind = 3}", r"\[supernet\] .*3 .*is unknown; known: .*dealt"),
        ('{kind = ["dealt"]}', r"\[supernet\] .*\['dealt'\] .*is unknown"),
        ("{experts = 2}", r"\[supernet\] a mixture needs 'kind'; add one of slice, .*dealt"),
        ("{}", r"\[supernet\] a mixture needs 'kind'"),
        ('{kind = "dealt", expert = 2}', r"dealt has no key 'expert'; did you mean 'experts'\?"),
        ('{kind = "dealt", experts = "2"}', r"dealt experts = '2': input should be a valid integer"),
        ('{kind = "dealt", experts = 0}', r"\[supernet\] .*experts = 0: expected 1 to 1,000"),
        (
            '{kind = "dealt", layers = ["stages.*", "blocks.*"]}',
            r"\[supernet\] .*no elastic layer matches '(stages|blocks)\.\*'",
        ),
    ],
)
def test_mixture_that_does_not_fit_is_one_line_before_a_store_is_made(
    write_study: WriteStudy, mixture: str, line: str
) -> None:
    study = write_study(f"{REST}mixture = {mixture}", **PARTS)
    for ask in (study.train, study.run, lambda: profile(study, 1, None)):
        with pytest.raises(NasplatError, match=line) as told:
            ask()
        assert "\n" not in str(told.value)
    assert not (study.folder / "study.db").exists()


def test_mixture_that_is_no_table_is_one_line(write_study: WriteStudy) -> None:
    with pytest.raises(InvalidStudy, match=r"\[supernet\] mixture = 'dealt': expected a table; write \{kind"):
        write_study(REST + 'mixture = "dealt"', **PARTS)


def test_mixture_is_refused_in_an_execution_that_it_cannot_have(
    write_study: WriteStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MIXTURES["dealt"], "executions", ("slice",))
    study = write_study(REST + DEALT + 'execution = "vmap"', **PARTS)
    line = r"mixture dealt cannot be trained with execution = 'vmap'; write execution = 'slice'"
    with pytest.raises(InvalidStudy, match=line):
        study.train()


def test_mixture_that_does_not_fit_into_memory_says_how_much_there_is(
    write_study: WriteStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "machine_memory", lambda: 2**14)
    study = write_study(REST + MOE.replace("2", "100"), **PARTS)
    with pytest.raises(NasplatError, match=r"mixture moe need .* GiB .* this machine has .* GiB: take fewer"):
        study.train()
    assert not (study.folder / "study.db").exists()
    assert write_study(REST, **PARTS).train() is not None


def test_mixture_needs_a_space_with_a_supernet(write_study: WriteStudy) -> None:
    rest = '[data]\nname = "toy.py:parity"\n[supernet]\n' + DEALT
    with pytest.raises(InvalidStudy, match=r"space 'toy' is not elastic: it has no supernet; remove"):
        write_study(rest).train()


def test_mixture_that_has_no_time_for_what_it_does_is_told_before_a_store_is_made(
    write_study: WriteStudy,
) -> None:
    study = write_study(REST + 'mixture = {kind = "split", splits = 2, at = [0.1, 0.2]}', **PARTS)
    with pytest.raises(NasplatError, match="a training of 3 steps is too short for splits"):
        study.train()
    assert not (study.folder / "study.db").exists()


def test_profile_says_how_weights_are_shared_and_what_that_costs(write_study: WriteStudy) -> None:
    assembly = assemble(write_study(REST + DEALT, **PARTS))
    told = training_in_effect(assembly)["weights shared by dealt"]
    assert told["experts"] == 2
    assert told["parameters"] == sum(p.numel() for p in assembly.bench.make_supernet().parameters())
    assert "supernet" in training_in_effect(assembly)
    assert set(training_in_effect(assemble(write_study(REST, **PARTS)))) == {"supernet"}


SPLITS = 'mixture = {kind = "split", splits = 2, at = [0.1, 0.5], repeats = 1}\n'


@pytest.mark.parametrize("mixture", [*TRAINED, SPLITS])
def test_time_of_a_training_with_a_mixture_can_be_foretold(write_study: WriteStudy, mixture: str) -> None:
    assembly = assemble(write_study(REST.replace("epochs = 1", "epochs = 9") + mixture, **PARTS))
    assert float(forecast(assembly, [assembly.bench.space.smallest()])["training"].split()[0]) > 0


@pytest.mark.parametrize("mixture", TRAINED)
def test_interrupted_training_with_a_mixture_resumes_to_the_same_weights(
    write_study: WriteStudy, mixture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(method, "Settings", partial(Settings, pulse=0))
    whole = write_study(REST + mixture, **PARTS, folder="whole").train()
    study = write_study(REST + mixture, **PARTS, folder="parts")
    with pytest.raises(KeyboardInterrupt):
        study.train(watcher=Lines(press_after=2))
    lines = Lines()
    resumed = open_study(study.path).train(watcher=lines)
    assert "from its checkpoint" in lines.said[0]
    assert whole is not None
    assert resumed is not None
    assert resumed.content_hash == whole.content_hash
    assert resumed.subnets.equals(whole.subnets)


@pytest.mark.parametrize(("mixture", "formats"), [(DEALT, ["state"]), (MOE, ["state", "pt2", "onnx"])])
def test_subnet_of_a_mixture_is_searched_and_exported_as_a_plain_network(
    write_study: WriteStudy, mixture: str, formats: list[str], tmp_path: Path
) -> None:
    study = write_study(REST + mixture, **PARTS)
    assert study.run().states == {"complete": 2}
    bundle = study.export(
        "knee", tmp_path / "out", formats=["state", "pt2", "onnx"]
    )  # verified in a new process
    network = load_bundle(bundle.folder)
    assert {type(m).__module__.partition(".")[0] for m in network.modules() if not list(m.children())} == {
        "torch"
    }
    data = assemble(study).bench.need_data("accuracy").validation
    with torch.no_grad():
        hits = (network(data.inputs).argmax(1) == data.targets).double().mean()
    assert float(hits) == study["knee"].values["accuracy"]
    assert sum(p.numel() for p in network.parameters()) == plain_params(study)


def plain_params(study: Study) -> int:
    """Parameters of the selected architecture as the plain space builds it."""
    space = assemble(study).bench.space
    return sum(p.numel() for p in space.build(space.arch(study["knee"].arch)).parameters())


def test_training_tells_in_one_line_what_a_mixture_costs(write_study: WriteStudy) -> None:
    lines, plain = Lines(), Lines()
    write_study(REST + DEALT, **PARTS).train(watcher=lines)
    (line,) = (line for line in lines.said if line.startswith("weights shared by dealt: "))
    assert "times those of plain slicing" in line
    write_study(REST, **PARTS, folder="plain").train(watcher=plain)
    assert not [line for line in plain.said if line.startswith("weights shared")]
