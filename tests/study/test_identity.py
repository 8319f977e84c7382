"""One name, one question: what may change while a study goes on, and what may not. Stores that are none."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from nasplat import NasplatError, Study, open_study

WriteStudy = Callable[..., Study]
DATA = '[data]\nname = "toy.py:parity"\n'
PARAMS = '[[objective]]\nmetric = "params"\n'

CHANGES = {
    "space": (
        {"space": 'name = "toy.py:SPACE"\nvalues = 5', "rest": DATA},
        r"space_arguments\.values = None, now it is 5",
    ),
    "data": ({"rest": f"{DATA}n = 32"}, r"data\.hash = \w+, now it is \w+"),
    "objectives": ({"rest": DATA + PARAMS}, "exists with objectives maximize toy.py:gain, not with"),
    "direction": (
        {"objective": 'metric = "toy.py:gain"\ndirection = "minimize"', "rest": DATA},
        "exists with objectives maximize toy.py:gain, not with objectives minimize",
    ),
    "arguments of an objective": (
        {"objective": 'metric = "toy.py:gain"\ndirection = "maximize"\nunit = "m"', "rest": DATA},
        r"objectives\[0\]\.unit = None, now it is m",
    ),
    "seed": ({"study": "trials = 12\nseed = 7", "rest": DATA}, "seed = 0, now it is 7"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_name_of_a_study_that_asks_another_question_is_refused_with_a_way_on(
    write_study: WriteStudy, change: str
) -> None:
    write_study(DATA).run(2)
    parts, line = CHANGES[change]
    changed = write_study(**parts)
    with pytest.raises(NasplatError, match=line) as told:
        changed.run(4)
    assert "\n" not in str(told.value)
    assert "another name" in str(told.value)
    assert len(changed.frame) == 2


def test_sampler_pruner_and_number_of_trials_may_change(write_study: WriteStudy) -> None:
    write_study().run(3)
    rest = '[pruner]\nname = "median"'
    study = write_study(rest, sampler='name = "tpe"', study="trials = 6\ntimeout = '1h'")
    assert study.run().new == 3


def test_bounds_may_not_change_since_trials_were_judged_by_them(write_study: WriteStudy) -> None:
    bound = '[[constraint]]\nmetric = "toy.py:cost"\nmax = {}'
    write_study(bound.format(40)).run(3)
    with pytest.raises(
        NasplatError, match=r"constraints\[0\].max = 40.0, now it is 30.0; undo the change, or give"
    ):
        write_study(bound.format(30)).run(6)


def test_edited_space_is_another_space(write_study: WriteStudy) -> None:
    study = write_study()
    study.run(2)
    toy = study.folder / "toy.py"
    toy.write_text(toy.read_text() + "\n# another builder\n")
    with pytest.raises(NasplatError, match="exists with space"):
        study.run(4)


def test_studies_of_two_names_share_a_store_and_its_evaluations(write_study: WriteStudy) -> None:
    counted = 'metric = "toy.py:counted"\ndirection = "maximize"'
    first = write_study(objective=counted)
    first.run(12)
    page = first.path.read_text().replace('name = "toy"', 'name = "again"')
    first.path.write_text(page)
    second = open_study(first.path)
    second.run(12)
    assert second.frame["toy.py:counted"].tolist() == first.frame["toy.py:counted"].tolist()
    assert len((first.folder / "calls.txt").read_text().splitlines()) == 12
    assert [s.name for s in second.store.studies()] == ["toy", "again"]


def test_edited_function_is_another_metric_and_measured_again(write_study: WriteStudy) -> None:
    counted = 'metric = "toy.py:counted"\ndirection = "maximize"'
    study = write_study(objective=counted)
    study.run(3)
    toy = study.folder / "toy.py"
    toy.write_text(toy.read_text().replace("return gain(candidate)", "return 100 + gain(candidate)"))
    study.path.write_text(study.path.read_text().replace('name = "toy"', 'name = "again"'))
    again = open_study(study.path)
    again.run(3)
    before = study.frame["toy.py:counted"].to_numpy()
    assert again.frame["toy.py:counted"].to_numpy() == pytest.approx(before + 100)


def test_store_that_is_no_database_is_told_and_left_alone(write_study: WriteStudy) -> None:
    study = write_study()
    file = study.folder / "study.db"
    file.write_text("dear diary")
    for action in (lambda: study.run(), lambda: study.front()):
        with pytest.raises(NasplatError, match=r"study\.db .*not .*database|study\.db is no .*") as told:
            action()
        assert "\n" not in str(told.value)
    assert file.read_text() == "dear diary"


def test_folder_that_cannot_be_written_is_told_in_one_line(write_study: WriteStudy) -> None:
    study = write_study()
    if os.geteuid() == 0:  # root may write anywhere, but not below a file
        study = write_study(study='trials = 3\nstore = "sqlite:///toy.py/study.db"')
    else:
        study.folder.chmod(0o500)
    try:
        with pytest.raises(NasplatError, match=r"study\.db") as told:
            study.run()
    finally:
        study.folder.chmod(0o700)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("read", ["front", "frame", "export", "status"])
def test_study_that_was_not_run_says_how_to_start_it(write_study: WriteStudy, read: str) -> None:
    from nasplat.study.status import status_of

    study = write_study()
    reads = {
        "front": study.front,
        "frame": lambda: study.frame,
        "export": lambda: study.export("knee", study.folder / "out"),
        "status": lambda: status_of(study),
    }
    for _ in range(2):
        with pytest.raises(NasplatError, match="nasplat run") as told:
            reads[read]()
        assert "\n" not in str(told.value)
        other = write_study(study='trials = 1\nstore = "sqlite:///study.db"')
        other.path.write_text(other.path.read_text().replace('name = "toy"', 'name = "other"'))
        open_study(other.path).run(1)  # now the store exists, the study does not
    assert not (study.folder / "out").exists()


def test_study_that_was_not_run_can_be_shown_in_a_notebook(write_study: WriteStudy) -> None:
    assert repr(write_study()) == "Study('toy', not run yet)"
