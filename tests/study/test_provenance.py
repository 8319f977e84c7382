"""What a card says of its origin."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from nasplat.study.fit import Order
from nasplat.study.provenance import command_of, commit_of


def test_the_command_is_what_was_typed() -> None:
    order = Order("forest", "accuracy", {"trees": 3}, ("nwot", "synflow"), batch=8)
    said = command_of(Path("studies/first/study.toml"), order, Path("my trained/forest"))
    typed = "fit predictor studies/first --metric accuracy --predictor forest --arguments '{\"trees\": 3}'"
    assert said == f"nasplat {typed} --scores nwot,synflow --batch 8 -o 'my trained/forest'"
    plain = command_of(Path("other.toml"), Order("ridge", "acc"), Path("out"))
    assert plain == "nasplat fit predictor other.toml --metric acc --predictor ridge -o out"


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_is_the_one_that_is_checked_out(tmp_path: Path) -> None:
    assert commit_of(tmp_path) == ""  # no repository
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run([*git, "init", "-q", "-b", "main"], check=True)
    assert commit_of(tmp_path) == ""  # nothing committed yet
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    assert commit_of(tmp_path) == (tmp_path / ".git/refs/heads/main").read_text().strip()
