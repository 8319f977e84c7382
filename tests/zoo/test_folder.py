"""Folders of other people's state dicts: what fits is read, what does not is listed with the reason."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from nasplat.errors import DataError, NasplatError
from nasplat.zoo import read_zoo

NET = """
from torch import nn


def NET():
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
"""


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three sound members in three formats."""
    torch.manual_seed(0)
    save_file(net().state_dict(), tmp_path / "a.safetensors")
    torch.save(net().state_dict(), tmp_path / "b.pt")
    torch.save({"epoch": 3, "state_dict": net().state_dict()}, tmp_path / "c.pth")
    return tmp_path


def test_state_dicts_of_three_formats_are_a_zoo(folder: Path) -> None:
    zoo = read_zoo(folder, net)
    assert [row["file"] for row in zoo.rows] == ["a.safetensors", "b.pt", "c.pth"]
    assert zoo.skipped == ()
    expected = torch.load(folder / "b.pt", weights_only=True)
    for name, tensor in zoo.module(1).state_dict().items():
        assert tensor.equal(expected[name])
        assert zoo.groups[0].tensors[name][1].equal(expected[name])


def test_the_module_may_be_named_as_a_file(folder: Path) -> None:
    (folder / "net.py").write_text(NET)
    assert len(read_zoo(folder, f"{folder}/net.py:NET")) == 3


def test_members_that_cannot_be_used_are_skipped_with_the_reason(folder: Path) -> None:
    sound = net().state_dict()
    (folder / "truncated.safetensors").write_bytes((folder / "a.safetensors").read_bytes()[:-7])
    (folder / "cut.pt").write_bytes((folder / "b.pt").read_bytes()[:300])
    save_file({**sound, "0.weight": torch.full((3, 4), torch.nan)}, folder / "nan.safetensors")
    save_file({**sound, "0.weight": torch.zeros(3, 5)}, folder / "shape.safetensors")
    save_file({**sound, "2.weight": torch.zeros(3)}, folder / "more.safetensors")
    save_file({k: v for k, v in sound.items() if k != "1.bias"}, folder / "fewer.safetensors")
    torch.save([1, 2], folder / "list.pt")
    torch.save(net(), folder / "whole.pt")  # a pickled module, which weights_only refuses
    zoo = read_zoo(folder, net)
    assert len(zoo) == 3
    reasons = {s.name: s.reason for s in zoo.skipped}
    damaged = {"truncated.safetensors", "cut.pt", "nan.safetensors", "list.pt", "whole.pt"}
    assert reasons.keys() == damaged | {"shape.safetensors", "more.safetensors", "fewer.safetensors"}
    assert "cannot be read" in reasons["truncated.safetensors"]
    assert "cannot be read" in reasons["cut.pt"]
    assert "NaN" in reasons["nan.safetensors"]
    assert "(3, 5)" in reasons["shape.safetensors"]
    assert "'2.weight'" in reasons["more.safetensors"]
    assert "'1.bias'" in reasons["fewer.safetensors"]
    assert "no state dict" in reasons["list.pt"]
    assert reasons["whole.pt"].endswith("would run code; save `module.state_dict()` instead")
    assert not any("\n" in reason for reason in reasons.values())


def test_a_pickle_is_not_run(folder: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (folder / "ran",)

    torch.save(OrderedDict(bomb=Bomb()), folder / "bomb.pt")
    assert [s.name for s in read_zoo(folder, net).skipped] == ["bomb.pt"]
    assert not (folder / "ran").exists()


def test_a_table_gives_facts_to_members(folder: Path) -> None:
    (folder / "table.csv").write_text("file,accuracy,note\na.safetensors,0.5,good\nc,0.25,\nd,1.0,unknown\n")
    table = read_zoo(folder, net).table
    assert table["accuracy"].tolist()[::2] == [0.5, 0.25]
    assert table["accuracy"].isna().tolist() == [False, True, False]
    assert table["note"][0] == "good"


def test_a_table_elsewhere_is_named(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "facts.csv"
    page.write_text("name,gap\nb,0.125\n")
    assert read_zoo(folder, net, page).rows[1]["gap"] == 0.125


@pytest.mark.parametrize("page", ["accuracy\n0.5\n", ""])
def test_a_table_that_names_no_files_is_refused(folder: Path, page: str) -> None:
    (folder / "table.csv").write_text(page)
    with pytest.raises(DataError, match="add a column"):
        read_zoo(folder, net)


def test_a_missing_table_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match=r"other\.csv is missing"):
        read_zoo(folder, net, folder / "other.csv")


def test_a_folder_without_state_dicts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no state dicts"):
        read_zoo(tmp_path, net)


def test_a_module_that_fits_nothing_is_refused_with_an_example(folder: Path) -> None:
    with pytest.raises(DataError, match=r"none of the 3 files .*a\.safetensors"):
        read_zoo(folder, lambda: nn.Linear(4, 3))


def test_a_factory_that_needs_arguments_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match="without arguments"):
        read_zoo(folder, nn.Linear)


def test_an_unknown_factory_is_refused(folder: Path) -> None:
    (folder / "net.py").write_text(NET)
    with pytest.raises(NasplatError, match="did you mean 'NET'"):
        read_zoo(folder, f"{folder}/net.py:NETS")
