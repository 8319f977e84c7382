"""Studies with a supernet: trained once, inherited from, exported, and safe from broken files."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nasplat import NasplatError, Study, load_bundle, open_study
from nasplat.errors import StoreError, TrainingError
from nasplat.study.assembly import assemble

WriteStudy = Callable[..., Study]
SPACE = 'name = "elastic_convnet"\nstages = 1\ndepth = [1, 2]\nwidth = [2, 4]\nkernel = [1, 3]'
DATA = '[data]\nname = "toy.py:images"\n'
REST = DATA + '[supernet]\nepochs = 1\nbatch_size = 32\n[[objective]]\nmetric = "params"\n'
PARTS = {"space": SPACE, "objective": 'metric = "accuracy"', "study": "trials = 4"}


@pytest.fixture
def study(write_study: WriteStudy) -> Study:
    return write_study(REST, **PARTS)


def supernet_of(study: Study) -> Path:
    (path,) = (study.folder / "artefacts" / "toy").glob("supernet-*.safetensors")
    return path


class Lines:
    """A watcher that keeps what is said, and presses Ctrl-C in a training where it is asked to."""

    def __init__(self, interrupt: bool = False) -> None:
        self.said: list[str] = []
        self.interrupt = interrupt

    def say(self, line: str) -> None:
        self.said.append(line)

    def training(self, done: int, total: int, figures: object) -> None:
        if self.interrupt:
            os.kill(os.getpid(), signal.SIGINT)

    def trial(self, done: int, total: int, line: str) -> None:
        pass


def test_supernet_is_trained_once_and_every_accuracy_names_its_weights(study: Study) -> None:
    first, second = Lines(), Lines()
    study.run(2, watcher=first)
    content = supernet_of(study).read_bytes()
    study.run(4, watcher=second)
    assert [line for line in first.said if line.startswith("training the supernet")]
    assert second.said == ["resuming: 2 of 4 trials are done"]
    assert supernet_of(study).read_bytes() == content
    from nasplat.files import content_hash

    origins = [e.origin for n in range(4) for e in study[n].evaluations if e.metric == "accuracy"]
    assert {o["supernet"] for o in origins} == {content_hash(content)}
    assert {o["protocol"] for o in origins} == {"inherited weights"}
    assert not list(study.folder.rglob("*.checkpoint"))


def test_exported_network_has_the_accuracy_that_the_search_saw(study: Study, tmp_path: Path) -> None:
    study.run()
    number = study.select("knee")
    bundle = study.export("knee", tmp_path / "out")
    network = load_bundle(bundle.folder)
    data = assemble(study).bench.need_data("accuracy")
    with torch.no_grad():
        hits = (network(data.validation.inputs).argmax(1) == data.validation.targets).double().mean()
    assert float(hits) == study[number].values["accuracy"]
    card = json.loads((bundle.folder / "card.json").read_text())
    assert card["metrics"]["accuracy"]["value"] == float(hits)
    assert card["architecture"]["key"] == study[number].key
    assert "accuracy" in card["test"]


def test_deleted_supernet_is_trained_again_to_the_same_weights(study: Study) -> None:
    study.run(2)
    path = supernet_of(study)
    content = path.read_bytes()
    path.unlink()
    study.run(3)
    assert path.read_bytes() == content


def test_changed_supernet_is_refused_with_the_way_out(study: Study) -> None:
    study.run(2)
    path = supernet_of(study)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(StoreError, match="is not the file that was stored; delete it, and it is made again"):
        study.run(3)
    path.unlink()
    assert study.run(3).new == 1


def test_truncated_checkpoint_is_told_in_one_line(study: Study) -> None:
    with pytest.raises(KeyboardInterrupt):
        study.run(watcher=Lines(interrupt=True))
    (checkpoint,) = study.folder.rglob("*.checkpoint")
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[: len(content) // 2])
    with pytest.raises(TrainingError, match=r"\.checkpoint is damaged .*; delete it and train again") as told:
        study.run()
    assert "\n" not in str(told.value)
    checkpoint.unlink()
    assert study.run(1).new == 1


def test_loss_that_is_not_finite_ends_the_training_of_a_supernet_in_one_line(write_study: WriteStudy) -> None:
    study = write_study(REST.replace("epochs = 1", "epochs = 1\nlearning_rate = 1e30"), **PARTS)
    with pytest.raises(TrainingError) as told:
        study.run()
    assert "\n" not in str(told.value)
    assert not list(study.folder.rglob("*.safetensors"))
    assert study.frame.empty
    mended = write_study(REST, **PARTS)  # no trial depends on the old page, so the name may stay
    assert mended.run(1).new == 1
    with pytest.raises(NasplatError, match=r"supernet\.learning_rate = 0\.2, now it is 0\.1"):
        write_study(REST.replace("epochs = 1", "epochs = 1\nlearning_rate = 0.1"), **PARTS).run(2)


def test_loss_that_is_not_finite_fails_a_trial_that_trains_alone(write_study: WriteStudy) -> None:
    parts = PARTS | {"objective": 'metric = "accuracy"\nepochs = 4\nlearning_rate = 1e30'}
    study = write_study(DATA, **parts)
    assert study.run(2).states == {"failed": 2}
    assert all(reason.startswith("nasplat.errors.TrainingError: ") for reason in study.frame["reason"])


def test_study_of_the_same_question_in_the_same_store_takes_the_trained_supernet(study: Study) -> None:
    study.run(2)
    study.path.write_text(study.path.read_text().replace('name = "toy"', 'name = "again"'))
    lines = Lines()
    again = open_study(study.path)
    again.run(2, watcher=lines)
    assert lines.said == []
    assert again.frame["accuracy"].tolist() == study.frame["accuracy"].tolist()


def test_scores_judge_the_untrained_network_though_weights_are_inherited(write_study: WriteStudy) -> None:
    rest = REST + '[[objective]]\nmetric = "score:synflow"\n'
    study = write_study(rest, **PARTS)
    study.run(2)
    scored = assemble(study)
    metric = next(m for m in scored.plan.metrics if m.name == "score:synflow")
    from nasplat.metric import Candidate

    scored.bench.inherits = False
    arch = scored.bench.space.arch(study[0].arch)
    assert metric.measure(Candidate(arch, scored.bench)).value == study[0].values["score:synflow"]
