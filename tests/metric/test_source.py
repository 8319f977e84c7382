"""Hashes of code, as parts of origins."""

from __future__ import annotations

from pathlib import Path

from nasplat.metric.source import folder_hash


def test_an_edited_renamed_or_further_file_is_another_folder(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("one")
    seen = [folder_hash(tmp_path)]
    (tmp_path / "notes.txt").write_text("no code")
    assert folder_hash(tmp_path) == seen[0]
    (tmp_path / "a.py").write_text("two")
    seen.append(folder_hash(tmp_path))
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    seen.append(folder_hash(tmp_path))
    (tmp_path / "c.py").write_text("")
    seen.append(folder_hash(tmp_path))
    assert len(set(seen)) == 4
