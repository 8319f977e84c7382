"""Trained predictors as files: round trips, damage, other versions, other spaces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nasplat import Space, ordinal
from nasplat.errors import NasplatError
from nasplat.plugins import load
from nasplat.prediction import Card, describe, load_predictor, save_predictor
from nasplat.prediction.card import ARRAYS, CARD, find_trained

SPACE = Space("toy", [ordinal("depth", (1, 2, 3, 4, 5, 6))])
SAMPLES = describe(SPACE, list(SPACE.enumerate()))
PAGE = Card(
    plug_in="ridge",
    space=SPACE.name,
    space_hash=SPACE.hash,
    metric="accuracy",
    unit="%",
    direction="maximize",
    data='a "quoted" name\\ and ✓ \x7f',
    labels=6,
    low=1e-7,
    high=np.inf,
    command="nasplat fit predictor toy",
    commit="abc",
    versions={"torch": "2.13.0+cpu", "a.b c": "1"},
    figures={"kendall_tau": float("nan"), "mae": 0.5},
    scores=("nwot", "synflow"),
    batch=32,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    predictor = load("predictors", "ridge")().fit(SAMPLES, np.arange(6.0))
    save_predictor(predictor, PAGE, tmp_path / "trained")
    return tmp_path / "trained"


def test_a_card_says_the_same_after_reading(folder: Path) -> None:
    _, card = load_predictor(folder)
    assert repr(card) == repr(PAGE)  # NaN is not equal to itself


def test_predictions_are_equal_after_reading(folder: Path) -> None:
    before = load("predictors", "ridge")().fit(SAMPLES, np.arange(6.0)).predict(SAMPLES)
    np.testing.assert_array_equal(load_predictor(folder)[0].predict(SAMPLES).mean, before.mean)


@pytest.mark.parametrize("file", [ARRAYS, CARD])
def test_a_missing_file_is_told(folder: Path, file: str) -> None:
    (folder / file).unlink()
    with pytest.raises(NasplatError, match=f"holds no trained predictor.*{file}"):
        load_predictor(folder)


def test_damaged_weights_are_told(folder: Path) -> None:
    content = bytearray((folder / ARRAYS).read_bytes())
    content[-1] ^= 1
    (folder / ARRAYS).write_bytes(bytes(content))
    with pytest.raises(NasplatError, match="not the file that its card was written for"):
        load_predictor(folder)


@pytest.mark.parametrize("text", ["", "not toml", 'plug_in = "ridge"\n'])
def test_a_damaged_card_is_told(folder: Path, text: str) -> None:
    (folder / CARD).write_text(text)
    with pytest.raises(NasplatError, match="holds no trained predictor"):
        load_predictor(folder)


def test_a_card_of_a_newer_version_is_told(folder: Path) -> None:
    page = (folder / CARD).read_text(encoding="utf-8")
    (folder / CARD).write_text('licence = "free"\n' + page, encoding="utf-8")
    with pytest.raises(
        NasplatError, match="the card says licence, which this version of nasplat does not know"
    ):
        load_predictor(folder)


@pytest.mark.parametrize(("old", "new"), [('"inputs"', '"eyes"'), ("columns", "kolumns")])
def test_a_predictor_of_another_version_is_told_with_its_command(folder: Path, old: str, new: str) -> None:
    predictor = load("predictors", "ridge")(inputs=["encoding"]).fit(SAMPLES, np.arange(6.0))
    save_predictor(predictor, PAGE, folder)
    page = (folder / CARD).read_text(encoding="utf-8")
    assert old in page
    (folder / CARD).write_text(page.replace(old, new), encoding="utf-8")
    with pytest.raises(
        NasplatError, match=r"written by another version.*make it again: nasplat fit predictor toy"
    ):
        load_predictor(folder)


@pytest.mark.parametrize("plug_in", ["subprocess:getoutput", "mine.py:PREDICTOR"])
def test_a_card_from_outside_runs_no_code_that_it_names(folder: Path, plug_in: str) -> None:
    (folder / "mine.py").write_text("raise SystemExit('this ran')\n")
    page = (folder / CARD).read_text(encoding="utf-8").replace('"ridge"', f'"{plug_in}"', 1)
    page += f'"cmd" = "touch {folder / "ran"}"\n'  # its last table holds the arguments
    (folder / CARD).write_text(page, encoding="utf-8")
    with pytest.raises(NasplatError, match=f"predictor '{plug_in}' is code by its place"):
        load_predictor(folder)
    assert not (folder / "ran").exists()


def test_a_score_that_a_card_names_by_its_place_is_refused(folder: Path) -> None:
    page = (folder / CARD).read_text(encoding="utf-8")
    (folder / CARD).write_text(page.replace('"synflow"', '"trained/mine.py:SCORE"'), encoding="utf-8")
    with pytest.raises(NasplatError, match=r"score 'trained/mine\.py:SCORE' is code by its place"):
        load_predictor(folder)


def test_a_card_that_names_a_score_is_told(folder: Path) -> None:
    page = (folder / CARD).read_text(encoding="utf-8")
    (folder / CARD).write_text(page.replace('"ridge"', '"nwot"', 1), encoding="utf-8")
    with pytest.raises(NasplatError, match="'nwot' is a Score, not a predictor"):
        load_predictor(folder)


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("batch = 32", 'batch = "x"', "the card batch = 'x'"),
        ("labels = 6", "labels = [6]", "the card labels = "),
        ('scores = ["nwot", "synflow"]', 'scores = "nwot"', "the card scores = 'nwot': give a list"),
        ("labels = 6\n", "", "the card needs 'labels'"),
    ],
)
def test_a_field_of_another_type_is_told(folder: Path, old: str, new: str, line: str) -> None:
    page = (folder / CARD).read_text(encoding="utf-8")
    assert old in page
    (folder / CARD).write_text(page.replace(old, new), encoding="utf-8")
    with pytest.raises(NasplatError, match=f"holds no trained predictor: {line}"):
        load_predictor(folder)


@pytest.mark.parametrize("error", [RuntimeError, IndexError])
def test_weights_that_a_predictor_cannot_take_are_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def restore(*_: object) -> None:
        raise error("size mismatch for\n\tweight")

    monkeypatch.setattr(type(load("predictors", "ridge")()), "restore", restore)
    with pytest.raises(NasplatError, match=r"another version .*size mismatch for weight.*make it again"):
        load_predictor(folder)


def test_another_space_is_refused() -> None:
    PAGE.check(SPACE)
    with pytest.raises(NasplatError, match=r"learned from space 'toy' .* but this is 'toy'"):
        PAGE.check(Space("toy", [ordinal("depth", (1, 2))]))


def test_a_folder_is_found_from_the_study_and_an_unknown_one_is_told(folder: Path) -> None:
    assert find_trained("trained", folder.parent) == folder
    with pytest.raises(
        NasplatError, match=r"no trained predictor 'drained': expected a folder with card\.toml"
    ):
        find_trained("drained", folder.parent)
