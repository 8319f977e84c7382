"""What is not loaded until it is needed: reading a study must not wait for torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nasplat import open_study

COMMAND = "import sys; sys.argv[0] = 'nasplat'; from nasplat.cli import main; main()"
REPORT = "import atexit, sys; atexit.register(lambda: print('loaded:', *sys.modules, file=sys.stderr)); "

SPACE = """
from nasplat import Space, ordinal

def numbers() -> Space:
    return Space("numbers", [ordinal("x", [1, 2, 3])])

def cost(candidate) -> float:
    return candidate.arch["x"]

def gain(candidate) -> float:
    return candidate.arch["x"]
"""

STUDY = """
study = {name = "numbers", trials = 3}
space = {name = "numbers.py:numbers"}
objective = [
    {metric = "numbers.py:cost", direction = "minimize"},
    {metric = "numbers.py:gain", direction = "maximize"},
]
"""


def loaded_by(code: str, *arguments: str) -> tuple[set[str], str]:
    """Modules that a fresh process has loaded at its end, and what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", REPORT + code, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return set(done.stderr.rpartition("loaded:")[2].split()), done.stdout


@pytest.fixture(scope="module")
def finished_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("numbers")
    (folder / "numbers.py").write_text(SPACE)
    (folder / "study.toml").write_text(STUDY)
    open_study(folder).run()
    return folder


@pytest.mark.parametrize(
    "module",
    ["nasplat", *(f"nasplat.{room}" for room in ("space", "pareto", "plugins", "store", "search", "study"))],
)
def test_rooms_that_only_read_and_propose_do_not_load_torch(module: str) -> None:
    loaded, _ = loaded_by(f"import {module}")
    assert module in loaded
    assert loaded.isdisjoint({"torch", "matplotlib", "sklearn", "alembic"})


def test_the_store_does_not_load_optuna() -> None:
    assert "optuna" not in loaded_by("import nasplat.store")[0]


@pytest.mark.parametrize(
    "arguments", [("--help",), ("front", "--help"), ("list", "spaces"), ("list", "predictors")]
)
def test_help_and_lists_load_neither_torch_nor_pandas(arguments: tuple[str, ...]) -> None:
    loaded, printed = loaded_by(COMMAND, *arguments)
    assert printed.strip()
    assert loaded.isdisjoint({"torch", "pandas", "matplotlib", "sklearn", "alembic", "optuna"})


@pytest.mark.parametrize(
    "arguments", [("status",), ("front",), ("front", "--json"), ("front", "--csv"), ("show", "0")]
)
def test_commands_that_read_a_study_load_neither_torch_nor_matplotlib(
    finished_study: Path, arguments: tuple[str, ...]
) -> None:
    command, *options = arguments
    loaded, printed = loaded_by(COMMAND, command, str(finished_study), *options)
    assert "numbers" in printed or "key" in printed
    assert loaded.isdisjoint({"torch", "matplotlib", "sklearn", "alembic", "optuna"})
