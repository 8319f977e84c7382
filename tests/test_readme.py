"""The README is a contract: every block of it runs, in the order in which a reader meets it."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from pydantic import BaseModel
from typer.testing import CliRunner

from nasplat import ElasticSpace, count_macs, load, open_study
from nasplat.cli.app import app
from nasplat.study.assembly import assemble
from nasplat.study.file import Constraint, Filter, Named, Objective, StudyFile, StudyTable, Supernet
from nasplat.supernet.mixtures import MIXTURES
from nasplat.supernet.mixtures.cost import sharing_costs

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")

QUICKSTART = """
study = {name = "quickstart", trials = 3}
data = {name = "translated_digits", copies = 1}
space = {name = "elastic_convnet", stages = 2, depth = [1], width = [4, 8]}
supernet = {epochs = 1}
objective = [{metric = "accuracy"}, {metric = "latency", threads = 1}]
"""
"""Stands for studies/quickstart: the same shapes, names and metrics, in seconds."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block; `file` is the path that its first line names in a comment, if it names one."""

    section: str
    language: str
    text: str

    @property
    def file(self) -> str | None:
        named = re.match(r"# (\S+\.(?:py|toml))\n", self.text)
        return named[1] if named else None


def blocks() -> list[Block]:
    found = []
    for section in re.split(r"^## ", README, flags=re.MULTILINE)[1:]:
        title = section.splitlines()[0]
        fences = re.findall(r"^```(\w*)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
        found += [Block(title, language, text) for language, text in fences]
    return found


BLOCKS = blocks()
SECTIONS = list(dict.fromkeys(block.section for block in BLOCKS))


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study with a supernet."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "study.toml").write_text(QUICKSTART)
    open_study(folder).run()
    return folder


@pytest.fixture
def checkout(quickstart: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory of a reader: a folder in which studies/quickstart has been run."""
    shutil.copytree(quickstart, tmp_path / "studies" / "quickstart")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop("network", None)  # the module of an exported network


@pytest.mark.parametrize("section", SECTIONS)
def test_every_block_of_a_section_runs(section: str, checkout: Path) -> None:
    namespace: dict[str, Any] = {"__name__": "readme"}
    for block in BLOCKS:
        if block.section == section:
            if block.file:  # run by a later line of the section
                write(checkout / block.file, block.text)
            else:
                RUN[block.language](block.text, namespace)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")


def run_shell(text: str, namespace: dict[str, Any]) -> None:
    for line in text.splitlines():
        command, *arguments = shlex.split(line, comments=True)
        if command == "nasplat":
            result = CliRunner().invoke(app, arguments)
            assert result.exit_code == 0, f"{line}\n{result.output}\n{result.exception!r}"
        elif command == "torchrun":
            done = subprocess.run([sys.executable, "-m", "torch.distributed.run", *arguments], check=False)
            assert done.returncode == 0, line
        elif command == "make":
            assert set(arguments) <= make_targets(), line
        else:
            assert command == "pip", f"the test does not know how to run: {line}"


def run_python(text: str, namespace: dict[str, Any]) -> None:
    exec(compile(text, "README.md", "exec"), namespace)


def check_page(text: str, namespace: dict[str, Any]) -> None:
    """Check a study file as `nasplat run` does before it starts, with the arguments of all that it names."""
    write(Path("page", "study.toml"), text)
    assemble(open_study("page"))


RUN = {"sh": run_shell, "python": run_python, "toml": check_page, "text": lambda text, namespace: None}


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def test_every_file_in_the_readme_is_run_by_a_later_line() -> None:
    for number, block in enumerate(BLOCKS):
        if block.file:
            later = [line for b in BLOCKS[number:] if b.language == "sh" for line in b.text.splitlines()]
            study, named = f"nasplat run {Path(block.file).parent}", f" {block.file}:"
            assert study in later or any(named in line for line in later)


def test_the_table_of_channels_in_the_readme_is_what_its_block_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    first, shown, *_ = (block for block in BLOCKS if block.section == "Channels and parameter graphs")
    run_python(first.text, {"__name__": "readme"})
    assert capsys.readouterr().out == shown.text


TABLES: list[tuple[str, type[BaseModel]]] = [
    ("study", StudyTable),
    ("data", Named),
    ("supernet", Supernet),
    ("objective", Objective),
    ("constraint", Constraint),
    ("filter", Filter),
]


def test_the_grammar_shows_every_table_and_every_key() -> None:
    (grammar,) = (
        block.text for block in BLOCKS if block.section == "The study file" and block.language == "toml"
    )
    tables = re.split(r"^(?:# )?\[+(\w+)\]+.*$", grammar, flags=re.MULTILINE)[1:]
    shown: dict[str, str] = {}
    for name, text in zip(tables[::2], tables[1::2], strict=True):
        shown[name] = shown.get(name, "") + text
    assert set(shown) == set(StudyFile.model_fields)
    for table, model in TABLES:
        keys = set(re.findall(r"^(?:# )?(\w+) =", shown[table], re.MULTILINE))
        assert set(model.model_fields) <= keys, table


def test_the_table_of_ways_to_share_weights_has_every_kind_and_what_it_costs() -> None:
    space = load("spaces", "pooling")(input_shape=(3, 32, 32), classes=10)
    assert isinstance(space, ElasticSpace)
    rows = re.findall(r"^\|.*\| ([\d.]+)(, merges)? \| `(\{kind.*\})` \|$", README, re.MULTILINE)
    tables = [tomllib.loads(f"mixture = {example}")["mixture"] for _, _, example in rows]
    frame = sharing_costs(space, tables)
    assert [float(told) for told, _, _ in rows] == [round(ratio, 2) for ratio in frame["ratio"]]
    assert [bool(merges) for _, merges, _ in rows] == [macs > 0 for macs in frame["merge_macs"]]
    assert {table["kind"] for table in tables} == set(MIXTURES)
    kind_of = {table["kind"]: cost for table, cost in zip(tables, frame["merge_macs"], strict=True)}
    largest = count_macs(space.build(space.largest()), torch.zeros(1, 3, 32, 32))
    assert f"two experts take {kind_of['moe'] / 1e6:.2f} million multiply-adds" in README
    assert f"one image takes up to {largest / 1e6:.0f} million" in README


def test_every_control_is_in_the_table_of_ways_to_share_weights() -> None:
    examples = re.findall(r"`(\{kind.*\})` \|$", README, re.MULTILINE)
    tables = [tomllib.loads(f"mixture = {example}")["mixture"] for example in examples]
    for kind, mixture in MIXTURES.items():
        control = mixture.control or {"kind": "slice"}
        assert any(control.items() <= table.items() for table in tables), kind


def commands(group: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every command of a group, and of the groups in it, by what is typed."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{path}{name} ")
        else:
            yield f"{path}{name}", command


def test_the_table_of_commands_names_every_command_with_options_that_exist() -> None:
    rows = dict(re.findall(r"^\| `nasplat ([a-z]+(?: [a-z]+)?)(.*)$", README, re.MULTILINE))
    known = dict(commands(typer.main.get_command(app)))
    assert set(rows) == set(known)
    for name, row in rows.items():
        options = {option for parameter in known[name].params for option in parameter.opts}
        assert set(re.findall(r"(?<=[`( ])--?[a-z-]+", row)) <= options, name
