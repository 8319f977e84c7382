from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from nasplat import plugins
from nasplat.errors import NasplatError
from nasplat.plugins import load, load_object, names

ROOT = Path(__file__).parents[1]

SPACE_FILE = """
from __future__ import annotations
from dataclasses import dataclass
from nasplat.space import Space, ordinal

@dataclass
class Note:
    text: str

class Shelf:
    note = Note("inside")

def SPACE(depth: tuple[int, ...] = (1, 2)) -> Space:
    return Space("mine", [ordinal("depth", depth)])
"""


@pytest.mark.parametrize("kind", ["spaces", "predictors"])
def test_the_names_are_the_modules_of_the_folder(kind: str) -> None:
    listed = {
        path.stem
        for path in (ROOT / kind).iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert {name for name in listed if not name.startswith("_")} <= set(names(kind))
    assert not any(name.startswith("_") for name in names(kind))
    assert names(kind) == sorted(names(kind))


def test_listing_imports_no_plugin_and_no_torch() -> None:
    code = (
        "import sys; from nasplat.plugins import names; names('spaces'); names('predictors');"
        "print([m for m in sys.modules if m.startswith(('nasplat.spaces', 'nasplat.predictors', 'torch'))])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_an_unknown_name_or_kind_lists_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "_modules", lambda kind: ["pooling"])
    with pytest.raises(NasplatError, match="'poling' among spaces: did you mean 'pooling'"):
        load("spaces", "poling")
    monkeypatch.undo()
    with pytest.raises(NasplatError, match="unknown kind of plug-in 'space': did you mean 'spaces'"):
        load("space", "pooling")


def test_a_builtin_plugin_is_the_constant_of_its_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny.py").write_text("SPACE = 'the factory'\n")
    (tmp_path / "empty.py").write_text("")
    (tmp_path / "_shared.py").write_text("")
    import nasplat.spaces

    search = nasplat.spaces.__path__
    monkeypatch.setattr(nasplat.spaces, "__path__", [*search, str(tmp_path)])
    monkeypatch.setattr(nasplat.spaces.__spec__, "submodule_search_locations", nasplat.spaces.__path__)
    assert {"tiny", "empty"} <= set(names("spaces"))
    assert "_shared" not in names("spaces")
    assert load("spaces", "tiny") == "the factory"
    with pytest.raises(NasplatError, match=r"nasplat\.spaces\.empty is no plug-in: end it with SPACE"):
        load("spaces", "empty")


def test_entry_points_of_other_packages_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("theirs", "json:dumps", "nasplat.spaces")
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point] if group == point.group else [])
    assert "theirs" in names("spaces")
    import json

    assert load("spaces", "theirs") is json.dumps
    assert "theirs" not in names("predictors")


def test_a_file_gives_its_object_relative_to_the_base(tmp_path: Path) -> None:
    (tmp_path / "space.py").write_text(SPACE_FILE)
    factory = load("spaces", "space.py:SPACE", base=tmp_path)
    assert factory(depth=(1, 2, 3)).size == 3
    assert load_object(f"{tmp_path}/space.py:SPACE") is factory
    assert load_object("space.py:Shelf.note.text", tmp_path) == "inside"
    (tmp_path / "space.py").write_text(SPACE_FILE.replace("mine", "changed"))
    assert load_object("space.py:SPACE", tmp_path)().name == "changed"


def test_a_module_gives_its_object() -> None:
    import json

    assert load_object("json:loads") is json.loads


@pytest.mark.parametrize(
    ("source", "spec", "message"),
    [
        ("", "other.py:SPACE", "no file .*other.py: give a path"),
        ("SPACES = 1", "f.py:SPACE", "f.py has no 'SPACE': did you mean 'SPACES'"),
        ("x = 1\nif x\n", "f.py:SPACE", "f.py has a syntax error in line 2: "),
        (
            "import json\n\njson.loads('{')",
            "f.py:SPACE",
            "f.py cannot be imported in line 3: JSONDecodeError: ",
        ),
        (
            "import missing_module",
            "f.py:SPACE",
            "line 1: ModuleNotFoundError: No module named 'missing_module'",
        ),
        ("", "no.such_module:f", "no module 'no.such_module' is installed"),
        ("", "f:SPACE", "no module 'f' is installed; for the file beside the study write f.py:NAME"),
        ("", "json:dmps", "json has no 'dmps': did you mean 'dumps'"),
        ("", "f.py", "'f.py' names no object: write file.py:NAME or package.module:NAME"),
        ("", ":SPACE", "names no object"),
    ],
)
def test_what_cannot_be_loaded_is_told_in_one_line(
    tmp_path: Path, source: str, spec: str, message: str
) -> None:
    (tmp_path / "f.py").write_text(source)
    with pytest.raises(NasplatError, match=message) as caught:
        load_object(spec, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_file_that_fails_leaves_no_module_behind(tmp_path: Path) -> None:
    (tmp_path / "f.py").write_text("1 / 0")
    before = set(sys.modules)
    with pytest.raises(NasplatError, match="line 1: ZeroDivisionError"):
        load_object("f.py:SPACE", tmp_path)
    assert not [name for name in set(sys.modules) - before if name.startswith("_nasplat_file")]
