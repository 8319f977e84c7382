"""Pruning from end to end: what comes out, what is written down, and what is left alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from nasplat import count_macs, count_params, load_bundle, open_study
from nasplat.data import evaluate, load_data
from nasplat.errors import ExportError, InvalidStudy, NasplatError, StoreError
from nasplat.export import check_bundle
from nasplat.prune import Plan, PruneSettings, load_plan
from nasplat.study.pruning import (
    Delivery,
    Finetuning,
    PruneOrder,
    figures,
    plan,
    plan_model,
    prune_model,
    record,
    run,
)
from nasplat.study.pruning.figures import judged
from nasplat.study.pruning.model import load_subject

from .nets import Small

pytestmark = pytest.mark.usefixtures("quick")
Order = Callable[..., PruneOrder]
Deliver = Callable[..., Delivery]


def test_a_network_comes_out_smaller_verified_and_with_its_numbers(order: Order, delivery: Deliver) -> None:
    pruned = prune_model(order(), delivery(formats=("state", "pt2")))
    about, module = pruned.card["pruned"], load_bundle(pruned.bundle.folder)
    data = load_data("nets.py:stripes")
    assert pruned.fresh
    assert about["before"]["macs"] / about["after"]["macs"] >= 2
    assert about["after"]["macs"] == count_macs(module, data.test.inputs)
    assert about["after"]["params"] == count_params(module)
    for split in (data.validation, data.test):
        name = "validation" if split is data.validation else "test"
        assert about["after"][name] == evaluate(module, split, data.task)
    original = load_subject("nets.py:small", Path("small.safetensors")).module
    assert about["before"]["test"] == evaluate(original, data.test, data.task) > 0.8
    assert about["after"]["latency"]["protocol"]["batch"] == 2
    assert len(about["epochs"]["pruned"]) == 1


def test_the_plan_in_the_bundle_gives_the_bundles_network(order: Order, delivery: Deliver) -> None:
    pruned = prune_model(order(finetuning=Finetuning(0)), delivery())
    folder = pruned.bundle.folder
    assert pruned.card["pruned"]["plan"] in check_bundle(folder).files
    original = load_subject("nets.py:small", Path("small.safetensors")).module
    again = load_plan(folder / pruned.card["pruned"]["plan"]).apply(original).eval()
    x = torch.randn(4, 1, 6, 6)
    torch.testing.assert_close(again(x), load_bundle(folder)(x))
    assert plan_model(order(finetuning=Finetuning(0))).cuts == pruned.plan.cuts


def test_runs_are_trials_of_a_study_that_can_be_read(order: Order, delivery: Deliver) -> None:
    first = prune_model(order(), delivery("a"))
    second = prune_model(order(score="random"), delivery("b"))
    study = open_study(second.page)
    assert (first.trial, second.trial, len(study.frame)) == (0, 1, 2)
    row = study.frame.iloc[1]
    after = second.card["pruned"]["after"]
    assert row["state"] == "complete"
    assert (row["accuracy"], row["macs"], row["params"]) == (
        after["validation"],
        after["macs"],
        after["params"],
    )
    assert row["latency"] == after["latency"]["median_ms"]
    widths = {group.name: group.after for group in second.plan.groups}
    assert study[1].arch.items() >= widths.items()
    assert set(study.front()["number"]) <= {0, 1}
    assert "accuracy" in str(study[1])


def test_the_same_order_again_does_nothing(
    order: Order, delivery: Deliver, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prune_model(order(), delivery())
    monkeypatch.setattr(run, "make", lambda *_: pytest.fail("it was planned again"))
    second = prune_model(order(), delivery())
    assert (second.fresh, second.trial, second.card) == (False, first.trial, first.card)
    assert second.plan == first.plan
    assert len(open_study(first.page).frame) == 1


def test_what_died_between_the_bundle_and_its_row_is_written_down_by_the_next_call(
    order: Order, delivery: Deliver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(record.Book, "write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            prune_model(order(), delivery())
    found = prune_model(order(), delivery())
    assert not found.fresh
    assert open_study(found.page).frame["state"].tolist() == ["complete"]


def test_a_run_whose_bundle_is_gone_is_made_again_under_its_trial(order: Order, delivery: Deliver) -> None:
    first = prune_model(order(), delivery("a"))
    second = prune_model(order(), delivery("b"))
    assert second.fresh
    assert second.trial == first.trial
    assert (
        load_bundle(first.bundle.folder).state_dict().keys()
        == load_bundle(second.bundle.folder).state_dict().keys()
    )
    assert len(open_study(first.page).frame) == 1


def test_without_data_a_network_is_pruned_and_said_to_be_unjudged(order: Order, delivery: Deliver) -> None:
    blind = order(data=None, shape=(1, 6, 6), finetuning=Finetuning(0))
    pruned = prune_model(blind, delivery())
    about = pruned.card["pruned"]
    assert (about["after"]["validation"], about["after"]["test"]) == (None, None)
    assert "no accuracy is known" in about["data"]
    assert pruned.bundle.value == 1.0
    assert "accuracy" not in open_study(pruned.page).frame


def test_a_latency_is_met_by_measurement_or_the_best_is_told(
    order: Order, delivery: Deliver, place: Path
) -> None:
    generous = prune_model(order(target={"max_latency": 1000.0}, finetuning=Finetuning(0)), delivery("a"))
    assert generous.card["pruned"]["met"]
    assert generous.card["pruned"]["after"]["latency"]["median_ms"] <= 1000
    assert open_study(generous.page).record.objectives == ("accuracy", "latency")
    with pytest.raises(NasplatError, match=r"latency"):
        prune_model(order(target={"max_latency": 1e-6}), delivery("b"))
    assert not (place / "b").exists()


def test_a_latency_that_a_second_measurement_misses_is_planned_for_less(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = plan_model(order())
    slow = replace(figures.clock(Small(), torch.zeros(1, 1, 6, 6), "cpu"), median_ms=4.0)
    asked: list[float] = []

    def planned(work: plan.Work, module: nn.Module, target: dict[str, float]) -> Plan:
        asked.append(target["max_latency"])
        return half

    monkeypatch.setattr(plan, "_planned", planned)
    monkeypatch.setattr(plan, "clock", lambda *_: replace(slow, median_ms=4.0 if len(asked) < 3 else 2.9))
    wanted = order(target={"max_latency": 3.0})
    assert plan_model(wanted).target == "max_latency = 3 ms"
    assert asked == pytest.approx([3.0, 3.0 * 3 / 4, 3.0 * (3 / 4) ** 2])
    monkeypatch.setattr(plan, "clock", lambda *_: slow)
    with pytest.raises(InvalidStudy, match=r"the best of 4 plans took 4 ms"):
        plan_model(wanted)


def test_a_target_out_of_reach_tells_the_best_and_leaves_nothing(
    order: Order, delivery: Deliver, place: Path
) -> None:
    before = sorted(path.name for path in place.iterdir())
    with pytest.raises(NasplatError, match=r"\d") as told:
        prune_model(order(target={"speedup": 1e6}), delivery())
    assert "\n" not in str(told.value)
    assert sorted(path.name for path in place.iterdir()) == before


def test_a_network_that_does_not_trace_is_told_and_leaves_nothing(
    order: Order, delivery: Deliver, place: Path
) -> None:
    with pytest.raises(NasplatError, match="cannot be traced"):
        prune_model(order(model="nets.py:Branching"), delivery())
    assert not (place / "small").exists()


def test_a_folder_that_is_taken_is_refused_before_anything_runs(
    order: Order, delivery: Deliver, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "small").mkdir()
    (place / "small" / "mine.txt").write_text("mine")
    monkeypatch.setattr(run, "make", lambda *_: pytest.fail("it was planned"))
    with pytest.raises(ExportError, match="not empty"):
        prune_model(order(), delivery())
    assert not (place / "prunes.db").exists()


def test_another_run_replaces_a_bundle_only_when_asked(order: Order, delivery: Deliver) -> None:
    first = prune_model(order(), delivery())
    other = order(target={"speedup": 1.5})
    with pytest.raises(ExportError, match="--overwrite"):
        prune_model(other, delivery())
    second = prune_model(other, replace(delivery(), overwrite=True))
    assert second.card["pruned"]["target"] != first.card["pruned"]["target"]
    assert len(open_study(second.page).frame) == 2


def test_runs_that_cannot_be_compared_need_a_study_of_their_own(
    order: Order, delivery: Deliver, place: Path
) -> None:
    prune_model(order(), delivery("a", name="mine"))
    with pytest.raises(StoreError, match="another name"):
        prune_model(order(arguments={"seed": 1}), delivery("b", name="mine"))
    assert not (place / "b").exists()


def test_networks_of_one_name_get_studies_of_their_own_unless_they_are_named(
    order: Order, delivery: Deliver
) -> None:
    first = prune_model(order(), delivery("a"))
    second = prune_model(order(weights=None), delivery("b"))
    assert first.page.name == "prunes-small.toml"
    assert second.page.name.startswith("prunes-small-")
    assert len(open_study(second.page).frame) == 1
    assert not prune_model(order(weights=None), delivery("b")).fresh


def test_runs_of_several_folders_share_a_store_that_is_named(
    order: Order, delivery: Deliver, place: Path
) -> None:
    (place / "stores").mkdir()
    store = "sqlite:///stores/mine.db"
    prune_model(order(), delivery("x/a", store=store))
    second = prune_model(order(score="l1"), delivery("y/b", store=store))
    assert second.page.parent == place / "y"
    assert len(open_study(second.page).frame) == 2
    assert not list(place.rglob("prunes.db"))


def test_figures_leave_the_network_on_the_cpu_and_in_its_mode(place: Path) -> None:
    module = load_subject("nets.py:small").module
    found = judged(module, torch.randn(3, 1, 6, 6), "cpu", None)
    assert json.dumps(found.as_json())
    assert not module.training
    assert found.latency.protocol["batch"] == 3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_network_is_finetuned_and_measured_on_a_gpu(order: Order, delivery: Deliver) -> None:
    pruned = prune_model(order(settings=PruneSettings(device="cuda", batch=2)), delivery())
    assert pruned.card["pruned"]["after"]["latency"]["device"]["kind"] == "cuda"
    assert {t.device.type for t in load_bundle(pruned.bundle.folder).state_dict().values()} == {"cpu"}
