"""What a study gives back: tables, the front, one trial, files."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from nasplat import NasplatError, Study, load_bundle, open_study
from nasplat.files import json_hash
from nasplat.metric import Metric
from nasplat.store import EvaluationRecord
from nasplat.study.frames import as_objects
from nasplat.study.ledger import Ledger

WriteStudy = Callable[..., Study]
TWO = '[[objective]]\nmetric = "toy.py:cost"\ndirection = "minimize"\n'
DATA = '[data]\nname = "toy.py:parity"\nn = 96\n'
TRAINED = 'metric = "accuracy"\nepochs = 2\nbatch_size = 16'


def test_front_holds_what_nothing_dominates_ordered_by_the_last_objective(write_study: WriteStudy) -> None:
    study = write_study(TWO)
    study.run(40)
    rows = list(study.frame[["number", "toy.py:gain", "toy.py:cost"]].itertuples(index=False, name=None))
    by_hand = [
        (n, gain, cost)
        for n, gain, cost in rows
        if not any((g >= gain and c <= cost) and (g > gain or c < cost) for _, g, c in rows)
    ]
    front = study.front()
    assert front["number"].tolist() == [n for n, _, _ in sorted(by_hand, key=lambda r: (r[2], r[0]))]
    assert front["toy.py:cost"].is_monotonic_increasing
    assert front["knee"].sum() == 1
    assert list(front.columns) == [
        "number",
        "toy.py:gain",
        "toy.py:cost",
        "noisy",
        "device",
        "seconds",
        "arch_key",
        "knee",
    ]


def test_front_as_json_and_as_csv_say_the_same(write_study: WriteStudy) -> None:
    study = write_study(TWO)
    study.run(20)
    front = study.front()
    objects = json.loads(json.dumps(as_objects(front)))
    table = pd.read_csv(io.StringIO(front.to_csv(index=False)))
    assert [row["number"] for row in objects] == table["number"].tolist() == front["number"].tolist()
    assert [row["toy.py:gain"] for row in objects] == table["toy.py:gain"].tolist()
    assert all(row["device"] is None for row in objects)


def test_front_of_a_study_without_a_complete_trial_is_an_empty_table(write_study: WriteStudy) -> None:
    study = write_study(TWO)
    study.run(timeout=1e-9)
    assert study.front().empty
    assert {"number", "toy.py:gain", "toy.py:cost"} <= set(study.front().columns)
    with pytest.raises(NasplatError, match="has no complete trial that keeps its constraints; run it first"):
        study.select("knee")


def test_selection_finds_the_knee_the_best_and_a_number(write_study: WriteStudy) -> None:
    study = write_study(TWO)
    study.run(20)
    front = study.front()
    assert study.select("knee") == front.loc[front["knee"], "number"].item()
    assert study.select("best:toy.py:gain") == study.frame["toy.py:gain"].idxmax()
    assert study.select("best:toy.py:cost") == front["number"].iloc[0]
    assert study.select(7) == study.select("7") == study[7].number == 7


@pytest.mark.parametrize(
    ("which", "line"),
    [
        ("nee", "cannot select 'nee'; say a trial's number, 'knee' or 'best:METRIC'"),
        ("best:toy.py:gian", "'toy.py:gian' is no objective; did you mean 'toy.py:gain'"),
        (99, "there is no trial 99; numbers go from 0 to 4"),
        ("-1", "cannot select '-1'"),
    ],
)
def test_selection_of_what_is_not_there_is_told(write_study: WriteStudy, which: str | int, line: str) -> None:
    study = write_study()
    study.run(5)
    with pytest.raises(NasplatError, match=line):
        study.select(which)


def test_trial_that_failed_cannot_be_selected_and_says_why(write_study: WriteStudy) -> None:
    study = write_study(objective='metric = "toy.py:broken"\ndirection = "maximize"')
    study.run(20)
    failed = int(study.frame.loc[study.frame["state"] == "failed", "number"].iloc[0])
    with pytest.raises(NasplatError, match=rf"trial {failed} is failed \(.*\); choose a complete one"):
        study.select(failed)


def test_trial_tells_its_architecture_its_numbers_and_draws_its_network(
    write_study: WriteStudy, tmp_path: Path
) -> None:
    study = write_study('[[objective]]\nmetric = "params"\n[[objective]]\nmetric = "latency"')
    study.run(2)
    trial = study[1]
    text = str(trial)
    assert all(f"{name} = {value!r}" for name, value in trial.arch.items())
    assert f"params: {trial.values['params']:,.0f}, count" in text
    assert "latency: " in text
    assert " ms (IQR " in text
    assert trial.svg().startswith("<svg")
    assert trial._repr_html_().startswith("<svg")
    trial.draw(tmp_path / "arch.svg")
    assert (tmp_path / "arch.svg").read_text() == trial.svg()
    plain = json.loads(json.dumps(trial.to_json()))
    assert plain["values"] == trial.values
    assert {e["metric"] for e in plain["evaluations"]} == {"toy.py:gain", "params", "latency"}
    with pytest.raises(NasplatError, match="has no trial 9"):
        study[9]


def test_front_shows_the_spread_and_the_device_of_a_latency_and_is_drawn(write_study: WriteStudy) -> None:
    study = write_study('[[objective]]\nmetric = "latency"')
    study.run(3)
    front = study.front()
    assert (front["latency_iqr"] >= 0).all()
    assert front["device"].notna().all()
    assert study.units == {"latency": "ms"}
    picture = study.folder / "front.png"
    study.plot_front(picture)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_noisy_value_is_measured_again_and_superseded_and_a_good_one_is_not(
    write_study: WriteStudy,
) -> None:
    study = write_study(objective='metric = "latency"')
    study.run(1)
    trial, store = study[0], study.store
    space = study.record.space
    assert space is not None
    (known,) = trial.evaluations
    noisy = EvaluationRecord(
        "latency", 99.0, "ms", {**known.origin, "batch": 7}, spread=50.0, n=10, noisy=True
    )
    good = EvaluationRecord("latency", 2.0, "ms", {**known.origin, "batch": 5}, spread=0.1, n=10)
    for record in (noisy, good):
        assert store.record(space.hash, trial.arch, trial.key or "", record)

    def recalled(origin: dict[str, object]) -> EvaluationRecord | None:
        from nasplat.study.assembly import assemble

        assembly = assemble(study)
        metric = Metric("latency", "ms", "minimize", assembly.plan.metrics[0].cost, origin, lambda c: None)  # type: ignore[arg-type, return-value]
        candidate = type("C", (), {"arch": assembly.bench.space.arch(trial.arch)})
        return Ledger(store, space.hash, None).recall(metric, candidate)  # type: ignore[arg-type, union-attr]

    assert recalled(dict(noisy.origin)) is None
    found = recalled(dict(good.origin))
    assert found is not None
    assert found.value == 2.0
    better = EvaluationRecord("latency", 3.0, "ms", noisy.origin, spread=0.1, n=10)
    assert store.record(space.hash, trial.arch, trial.key or "", better)
    rows = store.evaluations(space.hash, metric="latency", superseded=True)
    mine = [(e.value, e.current) for e in rows if json_hash(dict(e.origin)) == json_hash(dict(noisy.origin))]
    assert mine == [(99.0, False), (3.0, True)]


def test_network_trained_alone_is_exported_with_the_weights_that_gave_its_accuracy(
    write_study: WriteStudy, tmp_path: Path
) -> None:
    study = write_study(DATA + '[[objective]]\nmetric = "params"', objective=TRAINED)
    study.run(3)
    bundle = study.export("best:accuracy", tmp_path / "out")
    card = json.loads((bundle.folder / "card.json").read_text())
    number = study.select("best:accuracy")
    accuracy = study.frame.set_index("number").loc[number, "accuracy"]
    assert card["metrics"]["accuracy"]["value"] == accuracy
    network = load_bundle(bundle.folder)
    from nasplat.study.assembly import assemble

    data = assemble(study).bench.need_data("accuracy")
    with torch.no_grad():
        hits = (network(data.validation.inputs).argmax(1) == data.validation.targets).double().mean()
    assert float(hits) == pytest.approx(accuracy)
    assert not study.export("best:accuracy", tmp_path / "out").fresh


def test_task_of_the_users_own_names_the_metric_of_a_study(write_study: WriteStudy, tmp_path: Path) -> None:
    study = write_study(
        '[data]\nname = "toy.py:regression"', objective='metric = "mae"\nepochs = 2\nbatch_size = 16'
    )
    study.run(3)
    assert study.record.directions == ("minimize",)
    assert study.units == {"mae": "m"}
    best = study.frame["mae"].idxmin()
    assert study.front()["number"].tolist() == [best]
    bundle = study.export("knee", tmp_path / "out")
    card = json.loads((bundle.folder / "card.json").read_text())
    assert card["metrics"]["mae"] == {
        "value": study.frame["mae"].min(),
        "unit": "m",
        "origin": card["metrics"]["mae"]["origin"],
    }


def test_study_without_data_cannot_be_exported_and_says_so(write_study: WriteStudy, tmp_path: Path) -> None:
    study = write_study()
    study.run(2)
    with pytest.raises(NasplatError, match="needs data"):
        study.export("knee", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_folder_with_something_else_or_a_damaged_bundle_is_not_overwritten(
    write_study: WriteStudy, tmp_path: Path
) -> None:
    study = write_study(DATA, objective=TRAINED)
    study.run(1)
    bundle = study.export(0, tmp_path / "out")
    weights = next(bundle.folder.rglob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-40])
    with pytest.raises(NasplatError) as told:
        study.export(0, tmp_path / "out")
    assert "\n" not in str(told.value)
    assert study.export(0, tmp_path / "out", overwrite=True).fresh
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(NasplatError, match="mine"):
        study.export(0, tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_kept_weights_that_changed_since_are_not_exported(write_study: WriteStudy, tmp_path: Path) -> None:
    study = write_study(DATA, objective=TRAINED)
    study.run(1)
    (weights,) = (study.folder / "artefacts").rglob("network-*.safetensors")
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(NasplatError, match="is not the file that was stored"):
        open_study(study.path).export(0, tmp_path / "out")
    weights.unlink()
    with pytest.raises(NasplatError, match="weights of trial 0 are gone"):
        study.export(0, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_network_of_a_study_is_not_taken_from_a_neighbour_that_trained_it_otherwise(
    write_study: WriteStudy, tmp_path: Path
) -> None:
    study = write_study(DATA, objective=TRAINED)
    study.run(1)
    study.path.write_text(
        study.path.read_text().replace('name = "toy"', 'name = "longer"').replace("epochs = 2", "epochs = 3")
    )
    longer = open_study(study.path)
    longer.run(1)
    assert longer[0].key == study[0].key
    (weights,) = (study.folder / "artefacts" / "longer").glob("network-*.safetensors")
    weights.unlink()
    with pytest.raises(NasplatError, match="weights of trial 0 are gone"):
        longer.export(0, tmp_path / "out")


def test_study_that_trains_nothing_has_no_weights_to_export(write_study: WriteStudy, tmp_path: Path) -> None:
    study = write_study(DATA)
    study.run(1)
    with pytest.raises(NasplatError, match="trains no networks, so there are no weights to export"):
        study.export("knee", tmp_path / "out")
