"""A zoo in its folder: whole or resumable, checked before it is trusted."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from nasplat.data import Dataset, Split
from nasplat.errors import DataError, InvalidStudy
from nasplat.zoo import FAMILIES, Classifiers, Form, SirenForm, Sirens, Zoo, open_zoo, train_zoo
from nasplat.zoo.files import read_groups, write_groups

SETTINGS = Classifiers(7, ("norm", "mlp"), 3, group_size=2, batch_size=4, steps=(1, 3))


def toy(seed: int = 0) -> Dataset:
    source = torch.Generator().manual_seed(seed)
    splits = [
        Split(torch.randn(n, 1, 8, 8, generator=source), torch.randint(3, (n,), generator=source))
        for n in (20, 8, 8)
    ]
    return Dataset("toy", *splits, classes=3, origin={"name": "toy"})


def interrupted(folder: Path) -> None:
    """Train until two groups are done."""

    def watch(done: int, total: int, name: str) -> None:
        if done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_zoo(SETTINGS, toy(), folder, watch=watch)


def same(one: Zoo, other: Zoo) -> bool:
    tensors = [
        a.tensors.keys() == b.tensors.keys() and all(a.tensors[n].equal(b.tensors[n]) for n in a.tensors)
        for a, b in zip(one.groups, other.groups, strict=True)
    ]
    return all(tensors) and one.rows == other.rows


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zoo")
    train_zoo(SETTINGS, toy(), folder)
    return folder


def test_an_interrupted_zoo_goes_on_and_equals_one_that_was_not(finished: Path, tmp_path: Path) -> None:
    interrupted(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "parts").iterdir()}
    assert len(before) == 2
    assert len(open_zoo(tmp_path)) == 4
    calls: list[tuple[int, int, str]] = []

    def watch(done: int, total: int, name: str) -> None:
        calls.append((done, total, name))
        assert {path: path.stat().st_mtime_ns for path in before} == before

    again = train_zoo(SETTINGS, toy(), tmp_path, watch=watch)
    assert calls[0] == (4, 7, "")
    assert [done for done, _, _ in calls] == [4, 6, 7]
    assert same(again, open_zoo(finished))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["results.csv", "zoo.json", "zoo.safetensors"]


def test_a_part_that_was_damaged_is_trained_again(finished: Path, tmp_path: Path) -> None:
    interrupted(tmp_path)
    part = next((tmp_path / "parts").iterdir())
    part.write_bytes(part.read_bytes()[:-5])
    (skipped,) = open_zoo(tmp_path).skipped
    assert part.name in skipped.name
    assert same(train_zoo(SETTINGS, toy(), tmp_path), open_zoo(finished))


def test_a_finished_zoo_is_not_touched_again(finished: Path) -> None:
    before = (finished / "zoo.safetensors").stat().st_mtime_ns

    def watch(done: int, total: int, name: str) -> None:
        raise AssertionError("nothing is left to train")

    assert len(train_zoo(SETTINGS, toy(), finished, watch=watch)) == 7
    assert (finished / "zoo.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("settings", "data", "said"),
    [
        (replace(SETTINGS, seed=4), toy(), "seed = 3, not 4"),
        (replace(SETTINGS, families=("mlp",)), toy(), "families"),
        (SETTINGS, toy(1), "other data"),
        (Sirens(7), toy(), "kind = 'classifiers', not 'sirens'"),
    ],
)
def test_a_folder_keeps_one_zoo_only(finished: Path, settings: Classifiers, data: Dataset, said: str) -> None:
    with pytest.raises(InvalidStudy, match=said):
        train_zoo(settings, data, finished)
    assert len(open_zoo(finished)) == 7


def test_the_table_the_modules_and_the_csv_are_in_one_order(finished: Path) -> None:
    zoo = open_zoo(finished)
    table = zoo.table
    assert sorted(table["number"]) == list(range(7))
    assert [zoo.module(i).state_dict().keys() for i in range(7)] == [m.state_dict().keys() for _, m in zoo]
    for i, (row, module) in enumerate(zoo):
        with torch.no_grad():
            hits = (module(toy().test.inputs).argmax(1) == toy().test.targets).double().mean()
        assert float(hits) == row["test_accuracy"] == table["test_accuracy"][i]
        assert sum(p.numel() for p in module.parameters()) == row["params"]
    with (finished / "results.csv").open() as file:
        listed = list(csv.DictReader(file))
    assert [int(row["number"]) for row in listed] == table["number"].tolist()
    assert [float(row["gap"]) for row in listed] == table["gap"].tolist()


def test_a_zoo_says_where_it_comes_from(finished: Path) -> None:
    origin = open_zoo(finished).origin
    assert origin["settings"]["seed"] == 3
    assert origin["data"]["hash"] == toy().hash
    assert origin["versions"]["torch"] == torch.__version__
    assert json.loads((finished / "zoo.json").read_text())["settings"]["families"] == ["norm", "mlp"]


def test_some_networks_of_a_zoo_are_a_zoo(finished: Path) -> None:
    zoo = open_zoo(finished)
    some = zoo.select([0, 3, 6])
    assert [row["number"] for row in some.rows] == [zoo.rows[i]["number"] for i in (0, 3, 6)]
    assert [list(group.positions) for group in some.groups] == [[0], [1], [2]]
    for k, i in enumerate((0, 3, 6)):
        for one, other in zip(some.module(k).parameters(), zoo.module(i).parameters(), strict=True):
            assert one.equal(other)
    with pytest.raises(IndexError):
        zoo.select([7])


def test_a_module_owns_its_weights(finished: Path) -> None:
    zoo = open_zoo(finished)
    module = zoo.module(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    assert same(zoo, open_zoo(finished))


def test_a_truncated_zoo_is_refused_in_one_line(finished: Path, tmp_path: Path) -> None:
    whole = tmp_path / "zoo.safetensors"
    whole.write_bytes((finished / "zoo.safetensors").read_bytes()[:-100])
    with pytest.raises(DataError, match="damaged or no zoo"):
        open_zoo(tmp_path)


@pytest.mark.parametrize(
    "header",
    ["[]", "{", '{"version": 1}', '{"version": 1, "origin": {}, "groups": [{"name": "a", "form": {}}]}'],
)
def test_a_header_of_another_kind_is_refused_in_one_line(header: str, tmp_path: Path) -> None:
    save_file({"a/weight": torch.zeros(2)}, tmp_path / "zoo.safetensors", {"zoo": header})
    with pytest.raises(DataError, match="damaged or no zoo"):
        open_zoo(tmp_path)


def test_a_zoo_of_a_later_version_is_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "zoo.safetensors", {"zoo": '{"version": 99}'})
    with pytest.raises(DataError, match="later nasplat"):
        open_zoo(tmp_path)


def test_other_safetensors_are_no_zoo(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, tmp_path / "zoo.safetensors")
    with pytest.raises(DataError, match="no zoo"):
        open_zoo(tmp_path)


def test_an_empty_folder_is_no_zoo(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no zoo"):
        open_zoo(tmp_path)


def test_a_network_with_nan_that_is_called_trained_is_left_out_and_listed(
    finished: Path, tmp_path: Path
) -> None:
    groups, origin, _ = read_groups(finished / "zoo.safetensors")
    next(iter(groups[0].tensors.values()))[1] = torch.nan
    write_groups(tmp_path / "zoo.safetensors", groups, origin)
    zoo = open_zoo(tmp_path)
    (skipped,) = zoo.skipped
    assert skipped.name == f"network {groups[0].rows[1]['number']}"
    assert "NaN" in skipped.reason
    assert len(zoo) == 6
    assert zoo.rows[1] == groups[1].rows[0]


def test_a_group_that_does_not_fit_its_form_is_left_out_and_listed(finished: Path, tmp_path: Path) -> None:
    groups, origin, _ = read_groups(finished / "zoo.safetensors")
    name = next(iter(groups[0].tensors))
    fewer = {key: tensor for key, tensor in groups[0].tensors.items() if key != name}
    write_groups(tmp_path / "zoo.safetensors", [replace(groups[0], tensors=fewer), *groups[1:]], origin)
    zoo = open_zoo(tmp_path)
    assert [s.name for s in zoo.skipped] == [f"group {groups[0].name}"]
    assert name in zoo.skipped[0].reason
    assert len(zoo) == 5


def test_nothing_but_tensors_is_in_the_file(finished: Path) -> None:
    tensors = load_file(finished / "zoo.safetensors")
    assert {name.split("/")[0] for name in tensors} == {"norm-000", "norm-001", "mlp-000", "mlp-001"}


def test_sirens_are_kept_alike(tmp_path: Path) -> None:
    settings = Sirens(5, group_size=2, steps=2, form=SirenForm(4, 1, 10.0))
    train_zoo(settings, toy(), tmp_path)
    zoo = open_zoo(tmp_path)
    assert len(zoo) == 5
    assert {row["status"] for row in zoo.rows} == {"trained"}
    assert zoo.module(4)(torch.zeros(3, 2)).shape == (3, 1)
    assert zoo.summary()["networks"].tolist() == [5]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (replace(SETTINGS, families=("norms",)), "did you mean 'norm'"),
        (replace(SETTINGS, families=()), "families"),
        (replace(SETTINGS, families=("mlp", "mlp")), "once"),
        (replace(SETTINGS, count=0), "count"),
        (replace(SETTINGS, steps=(5, 2)), "least"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: Classifiers, said: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidStudy, match=said):
        train_zoo(settings, toy(), tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 28, 28)])
def test_every_family_takes_images_of_any_usual_size(family: str, shape: tuple[int, int, int]) -> None:
    for width in FAMILIES[family].widths:
        for depth in FAMILIES[family].depths:
            module = Form(family, shape, 7, width, depth, "gelu").make()
            assert module(torch.zeros(2, *shape)).shape == (2, 7)
