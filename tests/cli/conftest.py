"""The command line in this process, and the toy study to type at."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from nasplat.cli import main

TOY = Path(__file__).parents[1] / "study" / "toy.py"
PAGE = """
[study]
name = "toy"
trials = 12
[space]
name = "toy.py:SPACE"
[sampler]
name = "random"
[[objective]]
metric = "toy.py:gain"
direction = "maximize"
[[objective]]
metric = "params"
"""


@dataclass(frozen=True, slots=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


Nasplat = Callable[..., Said]


@pytest.fixture
def nasplat(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Nasplat:
    """Type a command: nasplat("run", folder)."""

    def type_(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["nasplat", *map(str, arguments)])
        capsys.readouterr()
        code: object = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        said = capsys.readouterr()
        return Said(int(str(code or 0)), said.out, said.err)

    return type_


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a study page and the toy file beside it."""
    shutil.copy(TOY, tmp_path / "toy.py")
    (tmp_path / "study.toml").write_text(PAGE)
    return tmp_path
