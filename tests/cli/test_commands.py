"""The commands: what they print, what they write, and how they end."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nasplat import open_study

Nasplat = Callable[..., Any]


def test_run_tells_every_trial_in_a_plain_line_and_what_to_type_next(nasplat: Nasplat, folder: Path) -> None:
    said = nasplat("run", folder, "--trials", 3)
    lines = said.out.splitlines()
    assert said.code == 0
    assert [bool(re.match(rf"{n + 1}/3  trial {n}: toy.py:gain ", line)) for n, line in enumerate(lines[:3])]
    assert re.fullmatch(r"toy: all 3 trials are done \(complete 3\) in \d+\.\d s", lines[3])
    assert lines[4] == f"next: nasplat front {folder}"


def test_run_again_says_that_it_resumes_and_is_done_at_once(nasplat: Nasplat, folder: Path) -> None:
    nasplat("run", folder)
    said = nasplat("run", folder)
    assert said.code == 0
    assert "resuming: 12 of 12 trials are done" in said.out
    assert "all 12 trials are done (complete 12) in 0." in said.out


def test_study_is_named_by_its_page_or_its_folder(nasplat: Nasplat, folder: Path) -> None:
    nasplat("run", folder)
    pages = [nasplat("front", place, "--json").out for place in (folder, folder / "study.toml")]
    assert pages[0] == pages[1]


def test_front_as_table_json_and_csv_agree(nasplat: Nasplat, folder: Path) -> None:
    nasplat("run", folder)
    table, objects = nasplat("front", folder).out, json.loads(nasplat("front", folder, "--json").out)
    rows = list(csv.DictReader(io.StringIO(nasplat("front", folder, "--csv").out)))
    assert [int(row["number"]) for row in rows] == [row["number"] for row in objects]
    assert [float(row["toy.py:gain"]) for row in rows] == [row["toy.py:gain"] for row in objects]
    assert "Pareto front of 'toy'" in table
    assert all(row["arch_key"] in table for row in rows)
    assert sum(row["knee"] for row in objects) == 1


def test_front_is_drawn_where_it_is_asked_to(nasplat: Nasplat, folder: Path) -> None:
    nasplat("run", folder)
    said = nasplat("front", folder, "-o", folder / "front.png")
    assert (folder / "front.png").read_bytes().startswith(b"\x89PNG")
    assert f"picture: {folder / 'front.png'}" in said.out
    with_json = nasplat("front", folder, "--json", "-o", folder / "front.svg")
    json.loads(with_json.out)
    assert "picture" in with_json.err


@pytest.mark.parametrize("command", [["front", "-o"], ["show", "0", "-o"]])
def test_picture_that_cannot_be_written_is_told_in_one_line(
    nasplat: Nasplat, folder: Path, command: list[str]
) -> None:
    nasplat("run", folder, "--trials", 2)
    name, *rest = command
    said = nasplat(name, folder, *rest, folder / "study.toml" / "picture.svg")
    assert said.code == 1
    assert said.err.count("\n") == 1
    assert "study.toml" in said.err


def test_show_tells_a_trial_and_draws_it(nasplat: Nasplat, folder: Path) -> None:
    nasplat("run", folder, "--trials", 4)
    said = nasplat("show", folder, "2", "-o", folder / "arch.svg")
    assert said.out.startswith("trial 2 of 'toy': complete")
    assert (folder / "arch.svg").read_text().startswith("<svg")
    assert json.loads(nasplat("show", folder, "knee", "--json").out)["state"] == "complete"
    assert "no trial 44" in nasplat("show", folder, "44").err


def test_status_counts_trials_and_gives_reasons(nasplat: Nasplat, folder: Path) -> None:
    page = folder / "study.toml"
    page.write_text(page.read_text().replace("toy.py:SPACE", "toy.py:FRAGILE"))
    said = nasplat("run", folder)
    assert said.code == 3
    told = json.loads(nasplat("status", folder, "--json").out)
    assert sum(told["states"].values()) == 12
    assert told["trials"] == "12 of 12 done"
    assert told["reasons"] == {"failed: RuntimeError: round networks do not exist": told["states"]["failed"]}
    text = nasplat("status", folder).out
    assert "round networks do not exist" in text
    assert all(key in text for key in told if key != "reasons")


def test_status_counts_broken_bounds_together(nasplat: Nasplat, folder: Path) -> None:
    page = folder / "study.toml"
    page.write_text(page.read_text() + '[[constraint]]\nmetric = "params"\nmax = 1200\n')
    nasplat("run", folder)
    told = json.loads(nasplat("status", folder, "--json").out)
    assert told["reasons"] == {"dropped: breaks params <= 1200": told["states"]["dropped"]}
    assert nasplat("status", folder).out.splitlines()[-1].endswith("  dropped: breaks params <= 1200")


@pytest.mark.parametrize(
    "kind", ["spaces", "predictors", "samplers", "metrics", "methods", "mixtures", "probes"]
)
def test_list_says_what_a_page_can_name_with_a_line_on_each(nasplat: Nasplat, kind: str) -> None:
    found = json.loads(nasplat("list", kind, "--json").out)
    expected = {
        "spaces": "elastic_convnet",
        "predictors": "synflow",
        "samplers": "regularized_evolution",
        "metrics": "accuracy",
        "methods": "sandwich",
        "mixtures": "dealt",
        "probes": "gradient_conflict",
    }
    assert expected[kind] in found
    assert all(line and "\n" not in line for line in found.values())
    assert all(name in nasplat("list", kind).out for name in found)


def test_profile_tells_sizes_constraints_and_time_and_writes_nothing(nasplat: Nasplat, folder: Path) -> None:
    page = folder / "study.toml"
    page.write_text(page.read_text() + '[[constraint]]\nmetric = "params"\nmax = 1200\n')
    said = nasplat("profile", folder, "--samples", 20)
    assert said.code == 0
    assert "params <= 1200" in said.out
    assert "one trial" in said.out
    told = json.loads(nasplat("profile", folder, "--samples", 5, "--json").out)
    assert told["space"] == {"name": "toy", "architectures": 6 * 6 * (2 + 4), "choices": 4}
    assert not (folder / "study.db").exists()


def test_init_writes_a_study_that_runs_and_never_overwrites(nasplat: Nasplat, tmp_path: Path) -> None:
    said = nasplat("init", tmp_path / "mine")
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == ["space.py", "study.toml"]
    assert said.out.splitlines()[-1] == f"next: nasplat profile {tmp_path / 'mine'}"
    page = tmp_path / "mine" / "study.toml"
    page.write_text(page.read_text().replace("epochs = 5", "epochs = 1"))
    assert nasplat("run", tmp_path / "mine", "--trials", 2).code == 0
    again = nasplat("init", tmp_path / "mine")
    assert again.code == 1
    assert "exists already; choose another folder" in again.err
    assert "epochs = 1" in page.read_text()
    exported = nasplat("export", tmp_path / "mine", "--select", "0", "-o", tmp_path / "out")
    assert exported.code == 0
    assert f"exported: {tmp_path / 'out'}" in exported.out
    assert f"how to load it: {tmp_path / 'out' / 'README.md'}" in exported.out
    assert (tmp_path / "out" / "README.md").is_file()
    assert (
        "already exported"
        in nasplat("export", tmp_path / "mine", "--select", "0", "-o", tmp_path / "out").out
    )


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--format", "tflite"], "tflite"),
        (["--format", ","], "format"),
        (["--select", "best"], "best"),
    ],
)
def test_export_tells_mistakes_and_writes_nothing(
    nasplat: Nasplat, folder: Path, arguments: list[str], line: str
) -> None:
    page = folder / "study.toml"
    page.write_text(
        page.read_text()
        .replace("[sampler]", '[data]\nname = "toy.py:parity"\n[sampler]')
        .replace('metric = "toy.py:gain"\ndirection = "maximize"', 'metric = "accuracy"\nepochs = 1')
    )
    nasplat("run", folder, "--trials", 1)
    said = nasplat("export", folder, "-o", folder / "out", *arguments)
    assert said.code == 1
    assert said.err.count("\n") == 1
    assert line in said.err
    assert not (folder / "out").exists()


ONE = {"a": 2, "b": 3, "kind": "odd", "edge": 4}


@pytest.mark.parametrize("content", [ONE, [ONE], [ONE, {"a": 1, "b": 1, "kind": "plain"}]])
def test_enqueued_architectures_are_evaluated_first(nasplat: Nasplat, folder: Path, content: Any) -> None:
    (folder / "arch.json").write_text(json.dumps(content))
    said = nasplat("run", folder, "--trials", 3, "--enqueue", folder / "arch.json")
    listed = content if isinstance(content, list) else [content]
    assert said.code == 0
    assert "enqueued as trial 0" in said.out
    study = open_study(folder)
    assert [study[n].arch for n in range(len(listed))] == listed
    assert len(study.frame) == 3
    again = nasplat("run", folder, "--trials", 3, "--enqueue", folder / "arch.json")
    assert "already in the study" in again.out


def test_enqueued_architecture_is_evaluated_after_the_study_is_done_too(
    nasplat: Nasplat, folder: Path
) -> None:
    nasplat("run", folder, "--trials", 2)
    (folder / "arch.json").write_text(json.dumps(ONE))
    nasplat("run", folder, "--trials", 2, "--enqueue", folder / "arch.json")
    assert open_study(folder).frame["state"].tolist() == ["complete"] * 3


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("{", "expected a JSON file with an architecture"),
        ("3", "expected an object of choices, or a list of such objects"),
        ('{"a": 7, "b": 1, "kind": "odd", "edge": 1}', r"a = 7|7.*choose|a.*\[1, 2, 3, 4, 5, 6\]"),
        ('{"a": 1, "b": 1, "kind": "plain", "c": 1}', "has no choice 'c'"),
        ('[{"a": 1, "b": 1, "kind": "plain"}, {"a": 1}]', "b is missing"),
    ],
)
def test_enqueued_file_with_a_mistake_changes_nothing(
    nasplat: Nasplat, folder: Path, content: str, line: str
) -> None:
    (folder / "arch.json").write_text(content)
    said = nasplat("run", folder, "--enqueue", folder / "arch.json")
    assert said.code == 1
    assert said.err.count("\n") == 1
    assert re.search(line, said.err), said.err
    assert not (folder / "study.db").exists()


def test_missing_file_to_enqueue_is_told(nasplat: Nasplat, folder: Path) -> None:
    said = nasplat("run", folder, "--enqueue", folder / "nothing.json")
    assert said.code == 1
    assert "nothing.json" in said.err


def test_mistake_is_one_line_and_its_traceback_comes_with_debug_only(
    nasplat: Nasplat, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "study.toml").write_text("[study]\nnam = 'x'")
    said = nasplat("run", folder)
    assert (said.code, said.out, said.err.count("\n")) == (1, "", 1)
    assert said.err.startswith("nasplat: ")
    from nasplat import NasplatError

    with pytest.raises(NasplatError):
        nasplat("run", folder, "--debug")


@pytest.mark.parametrize(
    "arguments",
    [["run"], ["runn", "."], ["run", ".", "--trials", "0"], ["run", ".", "--tirals", "3"], ["list", "pets"]],
)
def test_wrong_usage_ends_with_code_2(nasplat: Nasplat, arguments: list[str]) -> None:
    assert nasplat(*arguments).code == 2


def test_time_limit_is_a_duration(nasplat: Nasplat, folder: Path) -> None:
    said = nasplat("run", folder, "--timeout", "2 hours")
    assert said.code == 1
    assert "--timeout: '2 hours' is no duration" in said.err
    assert nasplat("run", folder, "--timeout", "30s", "--trials", 2).code == 0


def test_doctor_finds_a_fit_machine_by_a_real_search(nasplat: Nasplat) -> None:
    said = nasplat("doctor", "--json")
    found = json.loads(said.out)
    assert said.code == 0
    assert found["search"].startswith("works; 3 trials in ")
    assert {"python", "torch", "optuna", "devices", "writing"} <= found.keys()
