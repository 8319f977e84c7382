"""Files that are whole or absent, and hashes of their content."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasplat import files

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@given(st.dictionaries(st.text(), JSON, max_size=4))
@settings(max_examples=30, deadline=None)
def test_equal_values_have_equal_json_whatever_their_order(value: dict[str, object]) -> None:
    turned = dict(reversed(list(value.items())))
    assert files.canonical_json(value) == files.canonical_json(turned)
    assert files.json_hash(value) == files.json_hash(turned)


def test_hashes_are_sha256_of_the_content(tmp_path: Path) -> None:
    digest = hashlib.sha256("naïve".encode()).hexdigest()
    assert files.content_hash("naïve") == files.content_hash("naïve".encode()) == digest
    assert files.write_atomic(tmp_path / "a", "naïve") == digest == files.file_hash(tmp_path / "a")
    assert files.json_hash({"b": 1, "a": 2}) == hashlib.sha256(b'{"a":2,"b":1}').hexdigest()


def test_file_is_written_with_its_folders_and_can_be_read_by_others(tmp_path: Path) -> None:
    files.write_atomic(tmp_path / "new" / "deep" / "file.txt", b"content")
    path = tmp_path / "new" / "deep" / "file.txt"
    assert path.read_bytes() == b"content"
    assert path.stat().st_mode & 0o777 == 0o644
    assert names(path.parent) == ["file.txt"]


def test_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.txt"
    files.write_atomic(path, "old")

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.write_atomic(path, "new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file.txt"]


def test_folder_appears_whole_when_its_block_ends_well(tmp_path: Path) -> None:
    with files.atomic_folder(tmp_path / "out") as folder:
        (folder / "a").write_text("1")
        assert not (tmp_path / "out").exists()
    assert names(tmp_path / "out") == ["a"]
    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o755


def test_folder_replaces_an_older_one_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    with files.atomic_folder(tmp_path / "out") as folder:
        (folder / "new").touch()
    assert names(tmp_path / "out") == ["new"]
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_block_that_fails_keeps_the_older_folder_and_leaves_nothing(
    tmp_path: Path, error: type[BaseException]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    with pytest.raises(error), files.atomic_folder(tmp_path / "out") as folder:  # noqa: PT012
        (folder / "new").touch()
        raise error
    assert names(tmp_path / "out") == ["old"]
    assert names(tmp_path) == ["out"]
