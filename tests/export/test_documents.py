"""Further files of a bundle, and asking for a folder before long work."""

from __future__ import annotations

from pathlib import Path

import pytest

from nasplat.errors import ExportError
from nasplat.export import check_bundle, check_folder

from .conftest import Exported, export, make


def test_a_document_lies_in_the_bundle_and_is_part_of_its_content(tmp_path: Path) -> None:
    network = make("perceptron")
    first = export(network[0], tmp_path / "a", *network[1:], documents={"plan.json": "{}"})
    assert (first.folder / "plan.json").read_text() == "{}"
    assert "plan.json" in first.files
    same = export(network[0], tmp_path / "a", *network[1:], documents={"plan.json": "{}"})
    assert not same.fresh
    other = export(network[0], tmp_path / "b", *network[1:], documents={"plan.json": "[]"})
    assert len({first.content, other.content, export(network[0], tmp_path / "c", *network[1:]).content}) == 3
    (first.folder / "plan.json").write_text("[]")
    with pytest.raises(ExportError, match=r"plan\.json is not what was exported"):
        check_bundle(first.folder)


@pytest.mark.parametrize("name", ["card.json", "network.py", "../plan.json", "a/b"])
def test_a_document_cannot_stand_where_our_files_do(tmp_path: Path, name: str) -> None:
    network = make("perceptron")
    with pytest.raises(ExportError, match="choose another name"):
        export(network[0], tmp_path / "a", *network[1:], documents={name: "{}"})
    assert not (tmp_path / "a").exists()


def test_a_folder_can_be_asked_for_before_there_is_anything_to_export(tmp_path: Path) -> None:
    check_folder(tmp_path / "none")
    check_folder(tmp_path)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ExportError, match="not empty"):
        check_folder(tmp_path)


def test_a_bundle_keeps_its_folder_unless_it_may_go(small: Exported) -> None:
    with pytest.raises(ExportError, match="add --overwrite"):
        check_folder(small.bundle.folder)
    check_folder(small.bundle.folder, overwrite=True)
