"""The study file: what it takes, and one plain line for each mistake, with nothing written."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from nasplat import NasplatError, Study, open_study
from nasplat.study.file import parse_duration, read_study_file

WriteStudy = Callable[..., Study]
DATA = '[data]\nname = "toy.py:parity"'
IMAGES = '[data]\nname = "toy.py:images"'
ELASTIC = {"space": 'name = "elastic_convnet"\nstages = 1\ndepth = [1]\nwidth = [2, 4]'}

BAD = {
    "unknown key": (
        {"study": "trials = 12\ntimeuot = '2h'"},
        r"\[study\] has no key 'timeuot'; did you mean 'timeout'\?",
    ),
    "unknown table": ({"rest": "[sampelr]\nname = 'tpe'"}, r"no table 'sampelr'; did you mean 'sampler'\?"),
    "unknown key of the filter": (
        {"rest": f"{DATA}\n[filter]\nscore = ['nwot']"},
        r"\[filter\] (has no key 'score'; did you mean 'scores'|needs 'scores')",
    ),
    "wrong type": ({"study": "trials = '12'"}, r"\[study\] trials = '12': input should be a valid integer"),
    "a number for a name": ({"sampler": "name = 3"}, r"\[sampler\] name = 3: input should be a valid string"),
    "a list for a table": (
        {"rest": "[[data]]\nname = 'digits'"},
        r"data.*(table|dictionary|object|instance)",
    ),
    "no trials": ({"study": "trials = 0"}, r"\[study\] trials = 0: input should be greater than 0"),
    "negative trials": ({"study": "trials = -5"}, r"\[study\] trials = -5: .* greater than 0"),
    "bad duration": ({"study": "timeout = '2 hours'"}, r"\[study\] timeout = '2 hours': .*'90s'"),
    "empty duration": ({"study": "timeout = 0"}, r"\[study\] timeout = 0: .*no duration"),
    "target that is no objective": (
        {"study": "target = {accuracy = 0.9}"},
        r"target 'accuracy' is no objective; .*known: toy.py:gain",
    ),
    "NaN": ({"study": "target = {'toy.py:gain' = nan}"}, r"nan.*finite number"),
    "pruner with two objectives": (
        {"rest": "[pruner]\nname = 'median'\n[[objective]]\nmetric = 'params'"},
        r"\[pruner\] works with one \[\[objective\]\] only",
    ),
    "the same objective twice": (
        {"rest": "[[objective]]\nmetric = 'toy.py:gain'\ndirection = 'minimize'"},
        "two .*objective.* ask for the same metric",
    ),
    "wrong direction": (
        {"objective": "metric = 'params'\ndirection = 'up'"},
        r"objective.*direction = 'up': input should be 'maximize' or 'minimize'",
    ),
    "no direction": (
        {"objective": "metric = 'toy.py:gain'"},
        "objective 'toy.py:gain' needs a direction: 'maximize' or 'minimize'",
    ),
    "fewer classes than the data": (
        {"space": 'name = "elastic_convnet"\nclasses = 3', "rest": '[data]\nname = "digits"'},
        r"\[space\] classes = 3, but the data has 10: give as many, or leave it out",
    ),
    "groups that do not divide the widths": (
        {"space": f'{ELASTIC["space"]}\nnorm = "group"\nnorm_group = 8', "rest": '[data]\nname = "digits"'},
        "a norm in groups of 8 gets 2 channels: choose widths that 8 divides",
    ),
    "a number for a list": (
        {"space": 'name = "elastic_convnet"\nwidth = 8', "rest": '[data]\nname = "digits"'},
        r"\[space\] elastic_convnet width = 8: give a list$",
    ),
    "supernet without data": ({"rest": "[supernet]\nepochs = 2"}, r"\[supernet\] needs data to train on"),
    "supernet of a space that has none": (
        {"rest": f"{DATA}\n[supernet]\nepochs = 2"},
        "space 'toy' is not elastic",
    ),
    "constraint without a bound": (
        {"rest": "[[constraint]]\nmetric = 'params'"},
        r"\[\[constraint\]\] number 1: a constraint on 'params' needs min, max or both",
    ),
    "minimum above maximum": (
        {"rest": "[[constraint]]\nmetric = 'params'\nmin = 5\nmax = 3"},
        r"min = 5 is above max = 3",
    ),
    "share of all": ({"rest": f"{DATA}\n[filter]\nscores = ['nwot']\nkeep = 1"}, r"\[filter\] keep = 1"),
    "unknown space": ({"space": "name = 'elastic_convent'"}, "did you mean 'elastic_convnet'"),
    "space without a file": ({"space": "name = 'nowhere.py:SPACE'"}, r"no file .*nowhere\.py"),
    "space of another name": ({"space": "name = 'toy.py:SPAEC'"}, "toy.py has no 'SPAEC'; ?.*|did you mean"),
    "unknown argument of the space": (
        {"space": "name = 'toy.py:SPACE'\nvalue = 3"},
        r"\[space\] toy.py:SPACE has no key 'value'; did you mean 'values'\?",
    ),
    "wrong argument of the space": (
        {"space": "name = 'toy.py:SPACE'\nvalues = 'many'"},
        r"values = 'many': input should be a valid integer",
    ),
    "unknown sampler": ({"sampler": "name = 'nsga'"}, "unknown sampler 'nsga': did you mean 'nsga.'.*random"),
    "unknown argument of the sampler": (
        {"sampler": "name = 'nsga2'\npopulation = 3"},
        "sampler 'nsga2' has no key 'population'; did you mean 'population_size'",
    ),
    "unknown pruner": ({"rest": "[pruner]\nname = 'mean'"}, "unknown pruner 'mean': did you mean 'median'"),
    "unknown metric": (
        {"objective": "metric = 'param'"},
        "unknown metric 'param'; did you mean 'params'.*macs.*latency",
    ),
    "unknown argument of a metric": (
        {"objective": "metric = 'latency'\ndevcie = 'cpu'"},
        "metric 'latency' has no key 'devcie'; did you mean 'device'",
    ),
    "unknown type of numbers": (
        {"objective": "metric = 'latency'\ndtype = 'float23'"},
        "'float23' is unknown; did you mean 'float32'",
    ),
    "accuracy without data": (
        {"objective": "metric = 'accuracy'"},
        r"metric 'accuracy' needs data; add a \[data\] table",
    ),
    "accuracy where the task is another": (
        {"objective": "metric = 'accuracy'", "rest": "[data]\nname = 'toy.py:regression'"},
        "unknown metric 'accuracy'; known: .*mae",
    ),
    "unknown score": (
        {"objective": "metric = 'score:synflwo'", "rest": DATA},
        "'synflwo'.*did you mean 'synflow'",
    ),
    "unknown data": ({"rest": "[data]\nname = 'digit'"}, "unknown data set 'digit'; did you mean 'digits'"),
    "unknown training method": (
        {"rest": f"{DATA}\n[supernet]\nmethod = 'sandwhich'"},
        "method 'sandwhich' is unknown; did you mean 'sandwich'",
    ),
    "unknown argument of the training method": (
        {"rest": f"{DATA}\n[supernet]\nmethod = 'sandwich'\nepoch = 2"},
        r"\[supernet\] sandwich has no key 'epoch'; did you mean 'epochs'",
    ),
    "unknown execution": (
        {"rest": f"{DATA}\n[supernet]\nexecution = 'slices'"},
        r"\[supernet\] execution = 'slices': input should be 'slice', 'mask' or 'vmap'",
    ),
    "unknown probe": (
        ELASTIC | {"rest": f"{IMAGES}\n[supernet]\nprobes = ['norm_drfit']"},
        "probe 'norm_drfit' is unknown; did you mean 'norm_drift'",
    ),
    "probe that takes no kind": (
        ELASTIC | {"rest": f"{IMAGES}\n[supernet]\nprobes = ['load:depth']"},
        "load takes no kind of choice",
    ),
    "start that is not there": (
        ELASTIC | {"rest": f"{IMAGES}\n[supernet]\nstart = 'weights.safetensors'"},
        r"start = 'weights.safetensors': there is no file .*/weights.safetensors; correct the path",
    ),
    "running statistics that are not kept": (
        ELASTIC | {"rest": f"{IMAGES}\n[supernet]\ncalibration_batches = 0\nexecution = 'mask'"},
        "calibration_batches = 0 needs running statistics, which execution = 'mask' does not keep",
    ),
    "a date": ({"space": "name = 'toy.py:SPACE'\nvalues = 2024-01-01"}, "values = .*2024"),
}


@pytest.mark.parametrize("case", BAD)
def test_mistake_is_told_in_one_line_and_nothing_is_written(write_study: WriteStudy, case: str) -> None:
    parts, line = BAD[case]
    with pytest.raises(NasplatError) as told:
        write_study(**parts).run()
    message = str(told.value)
    assert re.search(line, message), message
    assert "\n" not in message
    folders = [path for path in Path(write_study().folder).iterdir() if path.name != "__pycache__"]
    assert sorted(path.name for path in folders) == ["study.toml", "toy.py"]


@pytest.mark.parametrize("trials", [0, -1])
def test_run_refuses_a_number_of_trials_below_one(write_study: WriteStudy, trials: int) -> None:
    with pytest.raises(NasplatError, match=f"trials = {trials}: expected at least 1"):
        write_study().run(trials)


def test_page_that_is_not_toml_is_told_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text("[study\nname = 'x'")
    with pytest.raises(NasplatError, match=r"study\.toml is not TOML: .*line 1"):
        open_study(tmp_path)


def test_page_in_another_encoding_is_told(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_bytes(b"\xff\xfe[study]")
    with pytest.raises(NasplatError, match="is not TOML"):
        open_study(tmp_path)


def test_missing_page_is_told_with_the_way_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(NasplatError, match=r"no study file at .*nowhere.*; make one with: nasplat init"):
        open_study(tmp_path / "nowhere")


@pytest.mark.parametrize("table", ["study", "space", "objective"])
def test_missing_table_is_named(tmp_path: Path, table: str) -> None:
    tables = {
        "study": "[study]\nname = 'x'",
        "space": "[space]\nname = 'x'",
        "objective": "[[objective]]\nmetric = 'params'",
    }
    (tmp_path / "study.toml").write_text("\n".join(text for name, text in tables.items() if name != table))
    with pytest.raises(NasplatError, match=rf"the table \[+{table}\]+ is missing; add it"):
        open_study(tmp_path)


def test_defaults_of_the_page_are_those_of_the_documentation(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(
        "[study]\nname = 'x'\n[space]\nname = 'y'\n[[objective]]\nmetric = 'params'"
    )
    page = read_study_file(tmp_path)
    assert (page.study.store, page.study.trials, page.study.seed) == ("sqlite:///study.db", 100, 0)
    assert (page.study.timeout, page.study.target, page.sampler.name) == (None, {}, "nsga2")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("2h30m", 9000), ("1d", 86400), (12, 12), (0.5, 0.5), ("1h1s", 3601)],
)
def test_durations_are_read_in_days_hours_minutes_and_seconds(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "h", "-1s", "2h 30m", "0s", 0, -3, True, None, "1.5h", [1]])
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="is no duration; write it like '90s', '15m' or '2h30m'"):
        parse_duration(text)
