"""Programs of torch.export without pickle."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from nasplat.errors import ExportError
from nasplat.export import check_program, load_program

from .conftest import Exported


def rewritten(source: Path, target: Path, change: Callable[[str, bytes], bytes], **added: bytes) -> Path:
    """A copy of an archive with members changed and added."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        root = old.namelist()[0].partition("/")[0]
        for name in old.namelist():
            new.writestr(name, change(name.partition("/")[2], old.read(name)))
        for name, content in added.items():
            new.writestr(f"{root}/data/constants/{name}", content)
    return target


def test_our_programs_hold_no_pickle_and_no_path_of_this_machine(exported: Exported) -> None:
    path = exported.bundle.folder / "network.pt2"
    check_program(path)
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    assert not any(content.startswith((b"\x80\x02", b"PK")) for content in contents.values())
    assert not any(str(Path(torch.__file__).parent).encode() in content for content in contents.values())


def test_a_program_with_pickled_example_inputs_is_refused(tmp_path: Path) -> None:
    program = torch.export.export(nn.Linear(2, 2), (torch.randn(2, 2),))
    torch.export.save(program, tmp_path / "plain.pt2")
    with pytest.raises(ExportError, match=r"sample_inputs/model\.pt needs pickle"):
        load_program(tmp_path / "plain.pt2")


def test_a_program_that_asks_for_pickle_is_refused_before_anything_runs(
    exported: Exported, tmp_path: Path
) -> None:
    source = exported.bundle.folder / "network.pt2"

    def ask(name: str, content: bytes) -> bytes:
        if not name.endswith("weights_config.json"):
            return content
        config = json.loads(content)
        next(iter(config["config"].values()))["use_pickle"] = True
        return json.dumps(config).encode()

    with pytest.raises(ExportError, match="needs pickle"):
        load_program(rewritten(source, tmp_path / "a.pt2", ask))
    opaque = rewritten(source, tmp_path / "b.pt2", lambda _, content: content, opaque_obj_0=pickle.dumps(1))
    with pytest.raises(ExportError, match="opaque_obj_0"):
        load_program(opaque)


def test_a_damaged_program_is_refused_in_one_line(exported: Exported, tmp_path: Path) -> None:
    whole = (exported.bundle.folder / "network.pt2").read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 3] ^= 0xFF
    for content in (b"", b"no archive", whole[: len(whole) // 2], bytes(flipped)):
        path = tmp_path / "network.pt2"
        path.write_bytes(content)
        with pytest.raises(ExportError, match=r"not a whole \.pt2 archive") as caught:
            load_program(path)
        assert "\n" not in str(caught.value)
