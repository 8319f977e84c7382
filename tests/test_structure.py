"""The shape of the house: who may import whom, what is installed, how long a room may be."""

from __future__ import annotations

import ast
import importlib.util
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import nasplat

ROOT = Path(__file__).resolve().parents[1]
ROWS = {
    7: {"cli"},
    6: {"study"},
    5: {"conformance", "export", "metric", "report"},
    4: {"compress", "prune", "supernet", "zoo"},
    3: {"draw", "elastic", "metanet", "prediction", "scoring", "search", "store", "table"},
    2: {"channels", "data", "networks", "space"},
    1: {"arguments", "measure", "pareto", "plugins"},
    0: {"errors", "files"},
}
"""The rooms of nasplat; each imports rooms of strictly lower rows only."""

BESIDE = {
    "spaces": {
        "arguments",
        "channels",
        "data",
        "elastic",
        "errors",
        "measure",
        "plugins",
        "prune",
        "space",
        "table",
    },
    "predictors": {
        "channels",
        "data",
        "errors",
        "files",
        "measure",
        "metanet",
        "prediction",
        "scoring",
        "space",
    },
}
"""What plug-ins may import; nobody imports them."""

CONSTANTS = {
    "spaces": {("SPACE", "SpaceFactory")},
    "predictors": {("SCORE", "Score"), ("PREDICTOR", "PredictorFactory")},
}

TEMPLATES = ROOT / "nasplat" / "study" / "starter"  # what `nasplat init` copies: a user's code, not ours
MIGRATIONS = ROOT / "nasplat" / "store" / "migrations" / "versions"  # lists of columns, frozen once released


def sources(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    return [path for path in found if TEMPLATES not in path.parents]


def rooms() -> Iterator[tuple[str, Path]]:
    """Every file of the core with its room; the front doors nasplat/__init__.py and __main__.py belong to none."""
    for path in sources("nasplat"):
        first = path.relative_to(ROOT / "nasplat").parts[0].removesuffix(".py")
        if first not in ("__init__", "__main__"):
            yield first, path


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of everything that a file imports anywhere in it, also in functions and for types only."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = "." * node.level + (node.module or "")
            yield from ((node.lineno, f"{origin}.{alias.name}") for alias in node.names)


def imported_rooms(path: Path) -> Iterator[tuple[int, str]]:
    """Line and room of every import from nasplat; a public name stands for the room that it comes from."""
    for line, name in imported(path):
        first, *rest = name.split(".")
        if first == "nasplat" and rest != ["__version__"]:
            yield line, nasplat._ROOM_OF.get(rest[0], rest[0]) if rest else "nasplat"


def place(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def test_every_room_has_a_row() -> None:
    assert {room for room, _ in rooms()} == set().union(*ROWS.values())


def test_every_room_imports_strictly_lower_rows_only() -> None:
    row_of = {room: row for row, names in ROWS.items() for room in names}
    wrong = [
        f"{place(path, line)} {room} -> {other}"
        for room, path in rooms()
        for line, other in imported_rooms(path)
        if other != room and row_of.get(other, 99) >= row_of[room]
    ]
    assert wrong == []


def test_the_readme_draws_the_same_rows() -> None:
    blocks = re.findall(r"```text\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (drawing,) = (block for block in blocks if re.search(r"^7  cli", block, re.MULTILINE))
    drawn: dict[int, set[str]] = {}
    for row, room in re.findall(r"^(\d)?\s+(\w+) {2,}\w", drawing, re.MULTILINE):
        drawn.setdefault(int(row) if row else min(drawn), set()).add(room)
    assert drawn == ROWS


@pytest.mark.parametrize("kind", BESIDE)
def test_plug_ins_import_only_the_rooms_they_may_know_and_siblings(kind: str) -> None:
    wrong = [
        f"{place(path, line)} -> {room}"
        for path in sources(kind)
        for line, room in imported_rooms(path)
        if room not in BESIDE[kind]
    ]
    assert wrong == []


def test_nobody_imports_a_plug_in() -> None:
    doors = tuple(f"{prefix}{kind}" for kind in BESIDE for prefix in ("", "nasplat."))
    wrong = [
        f"{place(path, line)} imports {name}"
        for folder in ("nasplat", *BESIDE)
        for path in sources(folder)
        for line, name in imported(path)
        if name.startswith(doors)
    ]
    assert wrong == []


@pytest.mark.parametrize("kind", CONSTANTS)
def test_every_plug_in_ends_with_its_annotated_constant(kind: str) -> None:
    for path in sources(kind):
        if not path.name.startswith("_"):
            last = ast.parse(path.read_text(encoding="utf-8")).body[-1]
            assert isinstance(last, ast.AnnAssign), path
            assert (ast.unparse(last.target), ast.unparse(last.annotation)) in CONSTANTS[kind], path


@pytest.mark.parametrize("kind", BESIDE)
def test_plug_in_folders_refuse_to_be_imported_under_their_bare_name(kind: str) -> None:
    spec = importlib.util.spec_from_file_location(kind, ROOT / kind / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    with pytest.raises(ImportError, match=f"nasplat.load\\('{kind}', name\\)"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def settings() -> dict[str, dict[str, dict[str, list[str]]]]:
    found: dict[str, dict[str, dict[str, list[str]]]] = tomllib.loads(
        (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    )["tool"]
    return found


def test_the_list_of_packages_equals_the_tree() -> None:
    core = [p.parent.relative_to(ROOT) for p in sources("nasplat") if p.name == "__init__.py"]
    plug_ins = [
        "nasplat" / p.parent.relative_to(ROOT) for k in BESIDE for p in (ROOT / k).rglob("__init__.py")
    ]
    listed = settings()["setuptools"]["packages"]
    assert sorted(listed) == sorted(".".join(path.parts) for path in [*core, *plug_ins])


def test_every_file_of_the_tree_is_installed() -> None:
    packages, data = settings()["setuptools"]["packages"], settings()["setuptools"]["package-data"]
    folders = [ROOT.joinpath(*name.split(".")) for name in packages]
    installed = {path for folder in folders for path in folder.glob("*.py")}
    for name, patterns in data.items():
        folder = ROOT.joinpath(*name.split("."))
        installed |= {path for pattern in patterns for path in folder.glob(pattern)}
    there = {p for p in (ROOT / "nasplat").rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    assert there - installed == set()


def names_for_type_checkers() -> dict[str, tuple[str, ...]]:
    """Names by room, as the TYPE_CHECKING block of the front door imports them."""
    tree = ast.parse((ROOT / "nasplat" / "__init__.py").read_text(encoding="utf-8"))
    block = next(n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")
    imports = [n for n in block.body if isinstance(n, ast.ImportFrom)]
    return {str(n.module).removeprefix("nasplat."): tuple(a.name for a in n.names) for n in imports}


def test_the_three_lists_of_public_names_are_equal() -> None:
    assert names_for_type_checkers() == nasplat._ROOMS
    assert sorted(nasplat.__all__) == sorted(name for names in nasplat._ROOMS.values() for name in names)


def test_every_public_name_resolves_to_what_its_room_exports() -> None:
    for name in nasplat.__all__:
        room = importlib.import_module(f"nasplat.{nasplat._ROOM_OF[name]}")
        assert getattr(nasplat, name) is getattr(room, name)
        assert name in getattr(room, "__all__", [name])
        assert name in dir(nasplat)


def test_no_public_name_is_a_room() -> None:
    assert set(nasplat.__all__).isdisjoint(room for room, _ in rooms())
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = nasplat.nothing


@pytest.mark.parametrize("folder", ["nasplat", *BESIDE])
def test_no_file_is_longer_than_a_small_room(folder: str) -> None:
    lengths = {p: len(p.read_text(encoding="utf-8").splitlines()) for p in sources(folder)}
    assert [p for p, length in lengths.items() if length > 300 and MIGRATIONS not in p.parents] == []


@pytest.mark.parametrize("folder", ["nasplat", *BESIDE])
def test_no_function_is_longer_than_a_page(folder: str) -> None:
    long = [
        f"{place(path, node.lineno)} {node.name}"
        for path in sources(folder)
        if MIGRATIONS not in path.parents
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and body_lines(node) > 40
    ]
    assert long == []


def body_lines(function: ast.FunctionDef) -> int:
    """Lines of a function's body without its docstring."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize("folder", ["nasplat", *BESIDE])
def test_nothing_is_pickled(folder: str) -> None:
    picklers = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
    for path in sources(folder):
        assert {name.split(".")[0] for _, name in imported(path)}.isdisjoint(picklers), path
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                "torch.load",
                "torch.save",
                "np.load",
            ):
                safe = {ast.unparse(keyword) for keyword in node.keywords}
                assert safe & {"weights_only=True", "allow_pickle=False"}, place(path, node.lineno)
