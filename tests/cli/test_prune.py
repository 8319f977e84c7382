"""`nasplat prune` and `nasplat fit metanet`: what they print, and how they end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nasplat.cli.prune import COUNTS, MILLISECONDS, _number
from nasplat.prune import load_plan

Nasplat = Callable[..., Any]
NETS = Path(__file__).parents[1] / "study" / "pruning" / "nets.py"
BLIND = ("--shape", "1,6,6", "--speedup", 2)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the networks' file in it."""
    shutil.copy(NETS, tmp_path / "nets.py")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_same_command_again_says_that_nothing_is_to_do(nasplat: Nasplat, place: Path) -> None:
    what = (
        "prune",
        "nets.py:small",
        "--data",
        "nets.py:stripes",
        "--speedup",
        2,
        "--finetune",
        1,
        "-o",
        "out/a",
    )
    said = nasplat(*what)
    assert (said.code, said.err) == (0, "")
    assert "accuracy (test)" in said.out
    assert "pruned: out/a" in said.out
    again = nasplat(*what)
    assert "already pruned, nothing to do: out/a" in again.out
    found = json.loads(nasplat(*what, "--json").out)
    assert (found["fresh"], found["trial"]) == (False, 0)
    assert found["pruned"]["after"]["macs"] * 2 <= found["pruned"]["before"]["macs"]
    front = json.loads(nasplat("front", "out/prunes-small.toml", "--json").out)
    assert [row["macs"] for row in front] == [found["pruned"]["after"]["macs"]]
    assert nasplat("show", "out/prunes-small.toml", 0).code == 0
    assert "| accuracy (test), before |" in (place / "out" / "a" / "README.md").read_text()


def test_a_plan_alone_is_written_and_shown(nasplat: Nasplat, place: Path) -> None:
    said = nasplat("prune", "nets.py:small", *BLIND, "--plan-only", "plan.json")
    assert (said.code, said.err) == (0, "")
    plan = load_plan("plan.json")
    assert repr(plan) in said.out
    assert sorted(path.name for path in place.iterdir()) == ["nets.py", "plan.json"]


def test_options_reach_the_plan(nasplat: Nasplat, place: Path) -> None:
    given = (
        "--shape",
        "1,6,6",
        "--keep",
        "0.5",
        "--round-to",
        4,
        "--keep-modules",
        "conv1",
        "--ranking",
        "layer",
    )
    nasplat("prune", "nets.py:small", *given, "--plan-only", "plan.json")
    widths = {group.name: (group.before, group.after) for group in load_plan("plan.json").groups}
    assert widths["conv1"] == (8, 8)
    assert all(after % 4 == 0 for name, (_, after) in widths.items() if name in ("conv2", "hidden"))
    assert widths["conv2"][1] < 12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nets.py:small", *BLIND), "give -o DIR"),
        (("nets.py:small", "--shape", "1,6,6", "-o", "out"), "expected exactly one of speedup"),
        (("nets.py:small", "--speedup", 2, "-o", "out"), "--shape such as"),
        (("nets.py:small", *BLIND, "--finetune", 2, "-o", "out"), "--finetune 0"),
        (("nets.py:small", *BLIND, "--score", "taylr", "-o", "out"), "did you mean 'taylor'"),
        (("nets.py:small", *BLIND, "--score", "taylor", "-o", "out"), "looks at data"),
        (("nets.py:small", *BLIND, "--metanet", "none", "-o", "out"), "no metanetwork 'none'"),
        (("nets.py:small", *BLIND, "--ranking", "globl", "-o", "out"), "did you mean 'global'"),
        (("nets.py:small", "--shape", "1,6,6", "--speedup", 10**6, "-o", "out"), "speedup|multiply-adds"),
        (("nets.py:small", "--shape", "1,6,6", "--max-latency", "3 m", "-o", "out"), "--max-latency 3 m"),
        (("nets.py:small", "--shape", "1,6,x", "--speedup", 2, "-o", "out"), "--shape 1,6,x"),
        (("nets.py:small", "--shape", "1,-6,6", "--speedup", 2, "-o", "out"), "--shape 1,-6,6"),
        (("nets.py:small", "--data", "digit", "--speedup", 2, "-o", "out"), "did you mean 'digits'"),
        (("nets.py:small", "--data", "digits", "--speedup", 2, "-o", "out"), "digits has 10 classes"),
        (("nets.py:Branching", *BLIND, "-o", "out"), "cannot be traced"),
        (("nets.py:small", *BLIND, "--format", "pt3", "-o", "out"), "did you mean 'pt2'"),
        (("nets.py:small", *BLIND, "--name", "a/b", "-o", "out"), "--name a/b"),
        (("nets.py:small", *BLIND, "--device", "gpu", "-o", "out"), "device 'gpu' is unknown"),
        (("nets.py:small", *BLIND, "--weights", "none.safetensors", "-o", "out"), "cannot be read"),
        (("nets.py:small", *BLIND, "--store", "sqlite:///none/x.db", "-o", "out"), "there is no folder"),
        (("nets.py:small", "--shape", "3,6,6", "--speedup", 2, "-o", "out"), "does not take an example"),
        (("nets.py:small", "--shape", "1,6,6", "--keep", "hid=0.5", "-o", "out"), "did you mean 'hidden'"),
        (("nets.py:small", "--shape", "1,6,6", "--keep", "half", "-o", "out"), "--keep half"),
        (("nets.py:small", *BLIND, "--arguments", "[1]", "-o", "out"), "--arguments [1]"),
        (("nets", *BLIND, "-o", "out"), "is no network"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    nasplat: Nasplat, place: Path, arguments: tuple[object, ...], message: str
) -> None:
    said = nasplat("prune", *arguments)
    assert said.code == 1
    assert any(word in said.err for word in message.split("|"))
    assert len(said.err.strip().splitlines()) == 1
    assert sorted(path.name for path in place.iterdir()) == ["nets.py"]


def test_a_folder_that_is_not_empty_is_left_alone(nasplat: Nasplat, place: Path) -> None:
    (place / "out").mkdir()
    (place / "out" / "mine.txt").write_text("mine")
    said = nasplat("prune", "nets.py:small", *BLIND, "-o", "out")
    assert said.code == 1
    assert "is not empty" in said.err
    assert [path.name for path in (place / "out").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("text", "units", "value"),
    [
        ("3ms", MILLISECONDS, 3),
        ("250us", MILLISECONDS, 0.25),
        ("0.5 s", MILLISECONDS, 500),
        ("2M", COUNTS, 2e6),
        ("1e6", COUNTS, 1e6),
        ("1e-3 s", MILLISECONDS, 1),
        ("300k", COUNTS, 3e5),
        ("7", COUNTS, 7),
    ],
)
def test_numbers_may_have_units(text: str, units: dict[str, float], value: float) -> None:
    assert _number("--max", text, units) == pytest.approx(value)


META = """
[data]
name = "nets.py:stripes"
[models]
family = "norm"
widths = [4]
depths = [3]
count = 2
epochs = 1
[metanet]
width = 4
layers = 1
epochs = 1
[losses]
batch = 16
"""


def test_a_metanetwork_is_fitted_and_its_cost_told(nasplat: Nasplat, place: Path) -> None:
    (place / "meta.toml").write_text(META)
    said = nasplat("fit", "metanet", "meta.toml")
    assert (said.code, said.err) == (0, "")
    assert "learned from 1 networks, 1 held out: meta" in said.out
    assert "cost:" in said.out
    card = json.loads(nasplat("fit", "metanet", "meta.toml", "--json").out)
    assert card["command"] == "nasplat fit metanet meta.toml -o meta"
    (place / "meta.toml").write_text(META.replace("batch", "bach"))
    wrong = nasplat("fit", "metanet", "meta.toml")
    assert (wrong.code, len(wrong.err.strip().splitlines())) == (1, 1)
    assert "did you mean 'batch'" in wrong.err
