"""Training a supernet alone: what decides its weights, how it is judged, and what goes wrong in one line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path

import pytest
import torch

from nasplat import NasplatError, Study, open_study
from nasplat.errors import TrainingError
from nasplat.files import file_hash
from nasplat.metric import Candidate, make_metric
from nasplat.study import method, supernet
from nasplat.study.assembly import assemble
from nasplat.study.file import Supernet
from nasplat.study.forecast import forecast
from nasplat.study.profile import training_in_effect
from nasplat.study.shelf import Shelf
from nasplat.study.supernet import load_supernet
from nasplat.study.training import TrainedSupernet
from nasplat.supernet import METHODS, Settings, save_weights

WriteStudy = Callable[..., Study]
SPACE = 'name = "elastic_convnet"\nstages = 1\ndepth = [1, 2]\nwidth = [2, 4]\nkernel = [1, 3]'
PARTS = {"space": SPACE, "objective": 'metric = "accuracy"', "study": "trials = 2"}
REST = '[data]\nname = "toy.py:images"\n[supernet]\nepochs = 1\nbatch_size = 32\n'


def trained(study: Study) -> TrainedSupernet:
    found = study.train()
    assert found is not None
    return found


def test_supernet_is_trained_once_and_the_search_takes_it(write_study: WriteStudy) -> None:
    study = write_study(REST, **PARTS)
    first, second = trained(study), trained(study)
    assert (first.fresh, second.fresh) == (True, False)
    assert first.path == second.path
    assert first.content_hash == second.content_hash == file_hash(first.path)
    assert first.subnets.equals(second.subnets)
    assert study.frame.empty
    study.run()
    origins = [e.origin["supernet"] for n in range(2) for e in study[n].evaluations if e.metric == "accuracy"]
    assert origins == [first.content_hash] * 2


def test_table_holds_what_a_search_would_see(write_study: WriteStudy) -> None:
    study = write_study(REST, **PARTS)
    rows = trained(study).subnets.set_index("subnet")
    assert list(rows.index) == ["smallest", "median of 5 random", "largest"]
    assembly = assemble(study)
    bench = assembly.bench
    assert assembly.training is not None
    load_supernet(bench, Shelf(study.store, study.record.id, study.folder, study.name), assembly.training)
    for name, arch in {"smallest": bench.space.smallest(), "largest": bench.space.largest()}.items():
        candidate = Candidate(arch, bench)
        for metric in ("params", "accuracy"):
            assert rows.loc[name, metric] == make_metric(metric, {}, bench).measure(candidate).value
    assert (
        rows.loc["smallest", "params"]
        <= rows.loc["median of 5 random", "params"]
        <= rows.loc["largest", "params"]
    )


def test_study_without_a_supernet_has_nothing_to_train(write_study: WriteStudy) -> None:
    study = write_study()
    with pytest.raises(NasplatError, match=r"has no \[supernet\] table, so there is nothing to train before"):
        study.train()
    assert not (study.folder / "study.db").exists()


def test_start_decides_the_weights_and_belongs_to_their_origin(write_study: WriteStudy) -> None:
    study = write_study(REST, **PARTS)
    plain = trained(study)
    space = assemble(study).bench.space
    start = study.folder / "start.safetensors"
    hashes = set()
    for seed in (1, 2):
        save_weights(space.build(space.largest(), seed), start)
        begun = write_study(REST + 'start = "start.safetensors"', **PARTS)
        hashes.add(trained(begun).content_hash)
        row = study.store.artefact(study.record.id, "supernet", json_hash_of(begun))
        assert row is not None
        assert row.origin["start"] == file_hash(start)
    assert len(hashes | {plain.content_hash}) == 3
    begun.run(1)
    save_weights(space.build(space.largest(), 3), start)
    with pytest.raises(NasplatError, match=r"was made with supernet\.start = \w+, now it is \w+"):
        begun.run(2)


def test_start_may_go_once_the_supernet_is_trained(write_study: WriteStudy) -> None:
    plain = write_study(REST, **PARTS)
    space = assemble(plain).bench.space
    start = plain.folder / "start.safetensors"
    study = write_study(REST + 'start = "start.safetensors"', **PARTS)
    with pytest.raises(NasplatError, match=r"start = 'start\.safetensors': there is no file"):
        study.run(1)
    save_weights(space.build(space.largest(), 1), start)
    study.run(1)
    start.unlink()
    assert open_study(study.path).run(2).new == 1
    next(study.folder.rglob("supernet-*.safetensors")).unlink()
    with pytest.raises(NasplatError, match=r"start = 'start\.safetensors': there is no file"):
        open_study(study.path).run(3)


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ('probes = ["gradient_conflict:depht"]', r"no choice of the kind 'depht'; .*'depth'"),
        ('method = "ofa"\norder = ["colour"]', "colour"),
        ("calibration_batch = 4", r"has no key 'calibration_batch'; .*'calibration_batches'"),
        ("learning_rat = 0.1", r"has no key 'learning_rat'; .*'learning_rate'"),
    ],
)
def test_what_does_not_fit_is_told_before_a_store_is_made(
    write_study: WriteStudy, keys: str, line: str
) -> None:
    study = write_study(REST + keys, **PARTS)
    with pytest.raises(NasplatError, match=line) as told:
        study.train()
    assert "\n" not in str(told.value)
    assert not (study.folder / "study.db").exists()


def test_probes_that_come_after_the_training_are_told_so(write_study: WriteStudy) -> None:
    write_study(REST, **PARTS).train()
    lines: list[str] = []
    write_study(REST + 'probes = ["load"]', **PARTS).train(watcher=Listening(lines))
    assert lines == ["probes look only while a supernet is trained; this one was trained before"]


def test_edited_loss_of_own_data_is_another_question(write_study: WriteStudy) -> None:
    study = write_study(REST, **PARTS)
    study.run(1)
    toy = study.folder / "toy.py"
    toy.write_text(toy.read_text() + "\n# another loss\n")
    with pytest.raises(NasplatError, match=r"data\.made\.source = \w+, now it is \w+"):
        open_study(study.path).run(2)


def json_hash_of(study: Study) -> str:
    from nasplat.files import json_hash

    assembly = assemble(study)
    assert assembly.training is not None
    return json_hash(assembly.training.origin(assembly.bench))


def test_start_of_another_space_is_told_in_one_line(write_study: WriteStudy) -> None:
    other = assemble(write_study(REST, **PARTS | {"space": SPACE.replace("[2, 4]", "[2, 8]")})).bench
    study = write_study(REST + 'start = "start.safetensors"', **PARTS)
    save_weights(other.make_supernet(), study.folder / "start.safetensors")
    with pytest.raises(
        TrainingError, match=r"start.safetensors does not fit the .*: \S+ is \(.*\), expected \("
    ) as told:
        study.train()
    assert "\n" not in str(told.value)


def test_checkpoint_of_another_space_is_refused_and_left_alone(
    write_study: WriteStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(method, "Settings", partial(Settings, save_every=0, pulse=0))
    failing = REST.replace("epochs = 1", "epochs = 1\nlearning_rate = 1e30")
    other = write_study(failing, **PARTS | {"space": SPACE.replace("[2, 4]", "[2, 8]")}, folder="other")
    with pytest.raises(TrainingError):
        other.train()
    (theirs,) = other.folder.rglob("*.checkpoint")
    study = write_study(REST, **PARTS)
    assembly = assemble(study)
    assert assembly.training is not None
    ours = supernet.checkpoint_path(assembly.bench, assembly.training, study.artefacts)
    ours.parent.mkdir(parents=True)
    ours.write_bytes(theirs.read_bytes())
    with pytest.raises(TrainingError, match=r"is a checkpoint of another training .*; delete it") as told:
        study.train()
    assert "\n" not in str(told.value)
    assert ours.read_bytes() == theirs.read_bytes()


def test_loss_that_is_not_finite_keeps_the_last_checkpoint_and_a_lower_rate_starts_anew(
    write_study: WriteStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(method, "Settings", partial(Settings, save_every=0, pulse=0))
    study = write_study(REST.replace("epochs = 1", "epochs = 1\nlearning_rate = 1e30"), **PARTS)
    line = (
        r"the loss became \w+ in step \d+ of 3, in \d of 4 architectures, first \w{16} \(.*depth1=.*stays at"
    )
    for _ in range(2):
        with pytest.raises(TrainingError, match=line) as told:
            study.train()
        assert "\n" not in str(told.value)
    (checkpoint,) = study.folder.rglob("*.checkpoint")
    lines: list[str] = []
    mended = write_study(REST, **PARTS)
    assert mended.train(watcher=Listening(lines)) is not None
    assert not any("from its checkpoint" in line for line in lines)
    assert checkpoint.exists()


class Listening:
    def __init__(self, lines: list[str]) -> None:
        self.say = lines.append

    def training(self, done: int, total: int, figures: object) -> None: ...

    def trial(self, done: int, total: int, line: str) -> None: ...


FAMILY = """
from nasplat import load

def family(*, input_shape: tuple[int, int, int], classes: int, rate: float = 0.05):
    space = load("spaces", "elastic_convnet")(
        input_shape=input_shape, classes=classes, stages=1, depth=[1, 2], width=[2, 4]
    )
    space.recipe.update(learning_rate=rate, batch_size=48)
    return space
"""


def of_family(write_study: WriteStudy, rest: str, objective: str = 'metric = "accuracy"') -> Study:
    space = 'name = "family.py:family"'
    study = write_study(rest, space=space, objective=objective, study="trials = 1")
    (study.folder / "family.py").write_text(FAMILY)
    return study


def test_recipe_of_the_family_is_in_effect_where_the_page_says_nothing(write_study: WriteStudy) -> None:
    study = of_family(write_study, REST)
    training = assemble(study).training
    assert training is not None
    recipe = training.recipe
    assert (recipe.epochs, recipe.batch_size, recipe.learning_rate) == (1, 32, 0.05)
    assert training.origin(assemble(study).bench)["recipe"]["learning_rate"] == 0.05
    told = training_in_effect(assemble(study))["supernet"]
    assert (told["method"], told["learning_rate"], told["batch_size"]) == ("sandwich", 0.05, 32)


def test_recipe_of_the_family_is_in_effect_for_networks_that_are_trained_alone(
    write_study: WriteStudy,
) -> None:
    data = '[data]\nname = "toy.py:images"\n'
    study = of_family(write_study, data, 'metric = "accuracy"\nepochs = 1\nbatch_size = 32')
    told = training_in_effect(assemble(study))["training alone"]
    assert (told["epochs"], told["batch_size"], told["learning_rate"]) == (1, 32, 0.05)
    study.run()
    (evaluation,) = (e for e in study[0].evaluations if e.metric == "accuracy")
    assert evaluation.origin["recipe"] == told


def test_other_defaults_of_a_family_are_another_question(write_study: WriteStudy) -> None:
    of_family(write_study, REST).run(1)
    study = open_study(Path(write_study(REST, **PARTS).folder))
    page = (
        study.path.read_text()
        .replace(SPACE, 'name = "family.py:family"\nrate = 0.1')
        .replace("trials = 2", "trials = 3")
    )
    study.path.write_text(page)
    with pytest.raises(NasplatError, match=r"was made with supernet\.learning_rate = 0\.05, now it is 0\.1"):
        open_study(study.path).run()


def test_how_a_training_runs_is_no_part_of_the_question(write_study: WriteStudy) -> None:
    study = write_study(REST, **PARTS)
    study.run(1)
    looked_at = write_study(REST + 'probes = ["load"]\nprobe_every = 3', **PARTS)
    assert looked_at.run(2).new == 1
    assert len(list(study.folder.rglob("supernet-*"))) == 1


def test_execution_shapes_the_weights_so_it_is_part_of_the_question(write_study: WriteStudy) -> None:
    study = write_study(REST, **PARTS)
    study.run(1)
    with pytest.raises(NasplatError, match=r"supernet\.execution = slice, now it is mask"):
        write_study(REST + 'execution = "mask"', **PARTS).run(2)
    masked = write_study(REST + 'execution = "mask"', **PARTS)
    assert json_hash_of(masked) != json_hash_of(write_study(REST, **PARTS))


def test_default_that_is_written_out_is_no_change(write_study: WriteStudy) -> None:
    write_study(REST, **PARTS).run(1)
    written = REST + 'momentum = 0.9\nseed = 0\nexecution = "slice"\nmethod = "sandwich"'
    assert write_study(written, **PARTS).run(2).new == 1


def test_default_of_another_version_is_another_question(
    write_study: WriteStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = write_study(REST, **PARTS)
    study.run(1)
    newer = partial(METHODS["sandwich"], momentum=0.8)
    monkeypatch.setitem(METHODS, "sandwich", newer)
    with pytest.raises(NasplatError, match=r"supernet\.momentum = 0\.9, now it is 0\.8"):
        open_study(study.path).run(2)


def test_subnets_that_are_not_calibrated_keep_the_shared_statistics_and_say_so(
    write_study: WriteStudy,
) -> None:
    study = write_study(REST + "calibration_batches = 0", **PARTS)
    study.run(1)
    (evaluation,) = (e for e in study[0].evaluations if e.metric == "accuracy")
    assert evaluation.origin["calibration"] == {
        "batches": 0,
        "statistics": "running ones, shared by all subnets",
    }
    assembly = assemble(study)
    assert assembly.training is not None
    load_supernet(
        assembly.bench, Shelf(study.store, study.record.id, study.folder, study.name), assembly.training
    )
    bench, arch = assembly.bench, assembly.bench.space.arch(study[0].arch)
    assert bench.supernet is not None
    data = bench.need_data("accuracy").validation
    with torch.no_grad():
        torch.testing.assert_close(bench.inherited(arch)(data.inputs), bench.supernet(data.inputs, arch))


@pytest.mark.parametrize("method", METHODS)
def test_no_key_of_a_method_has_another_meaning_in_the_table(method: str) -> None:
    assert {field.name for field in fields(METHODS[method])}.isdisjoint(Supernet.model_fields)


@pytest.mark.parametrize("method", METHODS)
def test_time_of_every_method_can_be_foretold(write_study: WriteStudy, method: str) -> None:
    assembly = assemble(write_study(f'{REST}method = "{method}"', **PARTS))
    archs = [assembly.bench.space.smallest()]
    assert float(forecast(assembly, archs)["training"].split()[0]) > 0
